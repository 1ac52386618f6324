"""The CustomResourceDefinitions of the Gateway API, made of the Structs in `objects`: fields, bounds, enumerations, defaults, and of what
`validations` says of them.

Whoever has applied upstream's own keeps those: ours are made only where there are none.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as shapes

from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.codec import from_builtins
from kybern.api.meta_v1 import Condition, ObjectMeta
from kybern.network.gateway.objects import GROUP, KINDS
from kybern.network.gateway.validations import RULES

APPROVED = {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"}
SHORT_NAMES = {
    "GatewayClass": ["gc"],
    "Gateway": ["gtw"],
    "HTTPRoute": [],
    "GRPCRoute": [],
    "ReferenceGrant": ["refgrant"],
}
ALSO_SERVED = {
    "GatewayClass": ["v1beta1"],
    "Gateway": ["v1beta1"],
    "HTTPRoute": ["v1beta1"],
    "GRPCRoute": [],
    "ReferenceGrant": ["v1"],
}
"""Versions that differ in nothing but their name."""
COLUMNS = {
    "GatewayClass": [("Controller", ".spec.controllerName"), ("Accepted", '.status.conditions[?(@.type=="Accepted")].status')],
    "Gateway": [("Class", ".spec.gatewayClassName"), ("Address", ".status.addresses[*].value"), ("Programmed", '.status.conditions[?(@.type=="Programmed")].status')],
    "HTTPRoute": [("Hostnames", ".spec.hostnames")],
    "GRPCRoute": [("Hostnames", ".spec.hostnames")],
    "ReferenceGrant": [],
}  # fmt: skip
REQUIRED: dict[type[Any], tuple[str, ...]] = {
    Condition: ("last_transition_time", "message", "reason", "status", "type")
}


def definitions() -> Iterator[CustomResourceDefinition]:
    for kind in KINDS:
        served = kind.served
        names = {"kind": served.kind, "listKind": served.list_kind, "plural": served.plural,
                 "singular": served.kind.lower(), "shortNames": SHORT_NAMES[served.kind], "categories": ["gateway-api"]}  # fmt: skip
        columns = [{"name": name, "jsonPath": path, "type": "string"} for name, path in COLUMNS[served.kind]]
        columns.append({"name": "Age", "jsonPath": ".metadata.creationTimestamp", "type": "date"})
        schema = schema_of(kind)
        version = {
            "served": True, "schema": {"openAPIV3Schema": schema},
            "additionalPrinterColumns": columns,
            **({"subresources": {"status": {}}} if "status" in schema["properties"] else {}),
        }  # fmt: skip
        yield from_builtins(CustomResourceDefinition, {
            "metadata": {"name": f"{served.plural}.{GROUP}", "annotations": APPROVED},
            "spec": {"group": GROUP, "names": names, "scope": "Namespaced" if served.namespaced else "Cluster",
                     "versions": [{"name": name, "storage": name == served.version, **version}
                                  for name in (served.version, *ALSO_SERVED[served.kind])]},
        })  # fmt: skip


def schema_of(kind: type[Any]) -> dict[str, Any]:
    return written(shapes.type_info(kind))


def written(info: shapes.Type) -> dict[str, Any]:
    """As OpenAPI has it."""
    match info:
        case shapes.Metadata():
            return written(info.type) | (info.extra_json_schema or {})
        case shapes.StructType(cls=cls) if cls is ObjectMeta:
            return {"type": "object"}
        case shapes.StructType():
            return written_struct(info)
        case shapes.VarTupleType():
            return {"type": "array", "items": written(info.item_type)} | bounds(
                "Items", info.min_length, info.max_length
            )
        case shapes.StrType():
            pattern = {"pattern": info.pattern} if info.pattern else {}
            return {"type": "string"} | bounds("Length", info.min_length, info.max_length) | pattern
        case shapes.IntType():
            limits = {"minimum": info.ge, "maximum": info.le}
            return {"type": "integer", "format": "int64"} | {k: v for k, v in limits.items() if v is not None}
        case shapes.LiteralType():
            return {"type": "integer" if isinstance(info.values[0], int) else "string", "enum": list(info.values)}
        case shapes.UnionType():
            [only] = [each for each in info.types if not isinstance(each, shapes.NoneType)]
            return written(only)
        case shapes.DictType():
            return {"type": "object", "additionalProperties": written(info.value_type)} | bounds(
                "Properties", info.min_length, info.max_length
            )
        case shapes.BoolType():
            return {"type": "boolean"}
    raise TypeError(f"{info} has no counterpart in a schema")


def written_struct(info: shapes.StructType) -> dict[str, Any]:
    properties = {}
    for one in info.fields:
        properties[one.encode_name] = written(one.type)
        if one.default not in (msgspec.NODEFAULT, None, ()):
            properties[one.encode_name]["default"] = msgspec.json.decode(msgspec.json.encode(one.default))
        properties[one.encode_name] |= validations(info.cls, one.name)
    required = [one.encode_name for one in info.fields if one.required or one.name in REQUIRED.get(info.cls, ())]
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return found | validations(info.cls)


def validations(cls: type[Any], field: str = "") -> dict[str, Any]:
    rules = RULES.get((cls, field), {})
    listed = [{"message": message, "rule": rule} for message, rule in rules.items()]
    return {"x-kubernetes-validations": listed} if listed else {}


def bounds(what: str, least: int | None, most: int | None) -> dict[str, int]:
    found = {f"min{what}": least, f"max{what}": most}
    return {key: value for key, value in found.items() if value is not None}
