"""OpenAPI 2 as protobuf, in the form of the Go library gnostic: what kubectl before 1.27 asks for.

The message types are made from the table below when they are first needed. Only fields that our documents use are listed.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from kybern.api.protobuf.dynamic import message_classes
from kybern.api.yaml_text import dump

MESSAGES = """
Any                      yaml:2:s
NamedAny                 name:1:s value:2:Any
Info                     title:1:s version:2:s
TypeItem                 value:1:*s
ItemsItem                schema:1:*Schema
AdditionalPropertiesItem schema:1:Schema boolean:2:b
NamedSchema              name:1:s value:2:Schema
Properties               additional_properties:1:*NamedSchema
Definitions              additional_properties:1:*NamedSchema
Schema                   _ref:1:s format:2:s title:3:s description:4:s default:5:Any multiple_of:6:d maximum:7:d
                         exclusive_maximum:8:b minimum:9:d exclusive_minimum:10:b max_length:11:i min_length:12:i
                         pattern:13:s max_items:14:i min_items:15:i max_properties:17:i min_properties:18:i
                         required:19:*s enum:20:*Any additional_properties:21:AdditionalPropertiesItem
                         type:22:TypeItem items:23:ItemsItem properties:25:Properties example:30:Any
                         vendor_extension:31:*NamedAny
BodyParameter            description:1:s name:2:s in:3:s required:4:b schema:5:Schema
QueryParameterSubSchema  required:1:b in:2:s description:3:s name:4:s type:6:s unique_items:20:b
PathParameterSubSchema   required:1:b in:2:s description:3:s name:4:s type:5:s unique_items:19:b
NonBodyParameter         query_parameter_sub_schema:3:QueryParameterSubSchema
                         path_parameter_sub_schema:4:PathParameterSubSchema
Parameter                body_parameter:1:BodyParameter non_body_parameter:2:NonBodyParameter
ParametersItem           parameter:1:Parameter
SchemaItem               schema:1:Schema
Response                 description:1:s schema:2:SchemaItem
ResponseValue            response:1:Response
NamedResponseValue       name:1:s value:2:ResponseValue
Responses                response_code:1:*NamedResponseValue
Operation                tags:1:*s operation_id:5:s produces:6:*s consumes:7:*s parameters:8:*ParametersItem
                         responses:9:Responses schemes:10:*s vendor_extension:13:*NamedAny
PathItem                 get:2:Operation put:3:Operation post:4:Operation delete:5:Operation patch:8:Operation
NamedPathItem            name:1:s value:2:PathItem
Paths                    path:2:*NamedPathItem
Document                 swagger:1:s info:2:Info paths:8:Paths definitions:9:Definitions
"""

METHODS = ("get", "put", "post", "delete", "patch")

Json = Mapping[str, Any]

LIMITS = {
    "multipleOf": "multiple_of", "exclusiveMaximum": "exclusive_maximum", "exclusiveMinimum": "exclusive_minimum",
    "maxLength": "max_length", "minLength": "min_length", "maxItems": "max_items", "minItems": "min_items",
    "maxProperties": "max_properties", "minProperties": "min_properties",
}  # fmt: skip


@cache
def messages() -> Mapping[str, Any]:
    """The message classes, by name."""
    return message_classes("openapi.v2", MESSAGES)


def encoded(document: Json) -> bytes:
    """An OpenAPI 2 document, as JSON value, in protobuf."""
    found = messages()["Document"](swagger=document["swagger"])
    found.info.title, found.info.version = document["info"]["title"], document["info"]["version"]
    for path, item in document["paths"].items():
        named = found.paths.path.add(name=path)
        for method in METHODS:
            if method in item:
                _operation(getattr(named.value, method), item[method])
    for name, schema in document["definitions"].items():
        _schema(found.definitions.additional_properties.add(name=name).value, schema)
    data: bytes = found.SerializeToString(deterministic=True)
    return data


def _extensions(into: Any, source: Json) -> None:
    for key, value in source.items():
        if key.startswith("x-"):
            into.vendor_extension.add(name=key).value.yaml = dump(value)


def _operation(into: Any, operation: Json) -> None:
    into.operation_id = operation.get("operationId", "")
    for field in ("tags", "produces", "consumes", "schemes"):
        getattr(into, field).extend(operation.get(field, ()))
    for parameter in operation.get("parameters", ()):
        if "in" in parameter:  # others' documents refer to shared ones
            _parameter(into.parameters.add().parameter, parameter)
    for code, response in operation["responses"].items():
        answer = into.responses.response_code.add(name=code).value.response
        answer.description = response["description"]
        if "schema" in response:
            _schema(answer.schema.schema, response["schema"])
    _extensions(into, operation)


def _parameter(into: Any, parameter: Json) -> None:
    if parameter["in"] == "body":
        _set(into.body_parameter, parameter, ("name", "in", "required", "description"))
        _schema(into.body_parameter.schema, parameter["schema"])
        return
    of = into.non_body_parameter
    inner = of.query_parameter_sub_schema if parameter["in"] == "query" else of.path_parameter_sub_schema
    _set(inner, parameter, ("name", "in", "required", "description", "type"))
    inner.unique_items = parameter.get("uniqueItems", False)


def _set(into: Any, source: Json, fields: Iterable[str]) -> None:
    for field in fields:
        if field in source:
            setattr(into, field, source[field])


def _schema(into: Any, schema: Json) -> None:
    into.SetInParent()
    if "$ref" in schema:
        into._ref = schema["$ref"]
    _set(into, schema, ("format", "title", "description", "pattern", "maximum", "minimum"))
    for field, name in LIMITS.items():
        if field in schema:
            setattr(into, name, schema[field])
    for field in ("default", "example"):
        if schema.get(field) is not None:
            getattr(into, field).yaml = dump(schema[field])
    for choice in schema.get("enum", ()):
        into.enum.add().yaml = dump(choice)
    into.required.extend(schema.get("required", ()))
    if "type" in schema:
        into.type.value.append(schema["type"])
    if "items" in schema:
        _schema(into.items.schema.add(), schema["items"])
    values = schema.get("additionalProperties")
    if isinstance(values, bool):
        into.additional_properties.boolean = values
    elif values is not None:
        _schema(into.additional_properties.schema, values)
    for name, inner in schema.get("properties", {}).items():
        _schema(into.properties.additional_properties.add(name=name).value, inner)
    _extensions(into, schema)
