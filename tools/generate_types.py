"""Write the built-in kinds of Kubernetes as msgspec Structs into src/kybern/api/, one module per group and version.

Structure comes from the JSON schemas in the PyPI package kubernetes-validate, plurals and verbs from lightkube-models;
no text of theirs is copied. Run:  python tools/generate_types.py  (from the repository's root, in the development
environment). The output is committed; a change of Kubernetes' version is a change of VERSION below and a run of this.
"""

import ast
import importlib.util
import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSION = "1.37.0"
OUT = Path("src/kybern/api")

# Module of ours -> prefix of upstream's definition names. Everything that 1.37 serves by default and calls stable.
MODULES = {
    "meta_v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "core_v1": "io.k8s.api.core.v1",
    "apps_v1": "io.k8s.api.apps.v1",
    "batch_v1": "io.k8s.api.batch.v1",
    "autoscaling_v1": "io.k8s.api.autoscaling.v1",
    "autoscaling_v2": "io.k8s.api.autoscaling.v2",
    "policy_v1": "io.k8s.api.policy.v1",
    "networking_v1": "io.k8s.api.networking.v1",
    "discovery_v1": "io.k8s.api.discovery.v1",
    "events_v1": "io.k8s.api.events.v1",
    "rbac_v1": "io.k8s.api.rbac.v1",
    "authentication_v1": "io.k8s.api.authentication.v1",
    "authorization_v1": "io.k8s.api.authorization.v1",
    "certificates_v1": "io.k8s.api.certificates.v1",
    "coordination_v1": "io.k8s.api.coordination.v1",
    "node_v1": "io.k8s.api.node.v1",
    "scheduling_v1": "io.k8s.api.scheduling.v1",
    "storage_v1": "io.k8s.api.storage.v1",
    "admissionregistration_v1": "io.k8s.api.admissionregistration.v1",
    "apiextensions_v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration_v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
    "flowcontrol_v1": "io.k8s.api.flowcontrol.v1",
    "resource_v1": "io.k8s.api.resource.v1",
    "storagemigration_v1": "io.k8s.api.storagemigration.v1",
}

SHADOWING = ("bool", "int", "str", "float", "tuple", "field")  # as a field, each would hide the type in its class

META = MODULES["meta_v1"] + "."
SCALARS = {
    META + "Time": "Time",
    META + "MicroTime": "MicroTime",
    META + "FieldsV1": "Mapping[str, Any]",
    META + "Patch": "Any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "Any",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "Any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "Any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "Any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "Any",
}
PRIMITIVES = {
    ("string", None): "str",
    ("string", "byte"): "Base64",
    ("string", "date-time"): "Time",
    ("integer", "int32"): "Int32",
    ("integer", "int64"): "Int64",
    ("integer", None): "Int64",
    ("number", "double"): "Float64",
    ("number", None): "Float64",
    ("boolean", None): "bool",
}
ZEROS = {  # a time has none: what was not given is left out, since "" is no time
    "str": "zero_text", "Base64": "zero_text", "Quantity": "no_amount",
    "Int32": "zero_number", "Int64": "zero_number", "Float64": "zero_number", "IntOrString": "zero_number",
    "bool": "false",
}  # fmt: skip
SHAPE_NAMES = ("Base64", "Float64", "Int32", "Int64", "IntOrString", "MicroTime", "Quantity", "Shape", "Time",
               "false", "no_amount", "no_entries", "no_items", "zero_number", "zero_text")  # fmt: skip
FIRST_FIELDS = {
    name: place for place, name in enumerate(("kind", "apiVersion", "metadata", "name", "namespace", "spec"))
}
BASE = "Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False"


def definitions() -> dict[str, dict[str, Any]]:
    spec = importlib.util.find_spec("kubernetes_validate")
    assert spec is not None and spec.origin is not None, "install the development requirements first"
    folder = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{VERSION}-local"
    found: dict[str, dict[str, Any]] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


def module_of(name: str) -> str | None:
    prefix = name.rpartition(".")[0]
    return next((module for module, known in MODULES.items() if known == prefix), None)


def snake(name: str) -> str:
    name = name.lstrip("$").replace("-", "_")
    name = re.sub(r"([A-Z]{2,})s(?=[A-Z]|$)", lambda m: m[1].capitalize() + "s", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return name + "_" if keyword.iskeyword(name) or name in SHADOWING else name


class Module:
    """The text of one generated module, and what it imports."""

    def __init__(self, name: str, defs: dict[str, dict[str, Any]]) -> None:
        self.name = name
        self.defs = defs
        self.imports: dict[str, set[str]] = {}
        self.own = [full for full in defs if module_of(full) == name and full not in SCALARS]

    def text(self) -> str:
        body = "\n\n\n".join(self.struct(full) for full in self.in_order())
        lines = [
            f'"""{self.title()}, generated by tools/generate_types.py. Do not edit."""',
            "",
            "from __future__ import annotations",
            "",
            "from collections.abc import Mapping",
            "from typing import Annotated, Any",
            "",
            "from msgspec import Struct, field",
            "",
            *(
                f"from kybern.api.{module} import {', '.join(sorted(names))}"
                for module, names in sorted(self.imports.items())
            ),
            f"from kybern.api.shape import {', '.join(SHAPE_NAMES)}",
            "",
            "",
        ]
        return "\n".join(lines) + body + "\n"

    def title(self) -> str:
        group, _, version = self.name.rpartition("_")
        return f"{group}/{version}"

    def in_order(self) -> list[str]:
        """Own definitions so that a class stands after those that its field defaults name."""
        done: list[str] = []

        def visit(full: str) -> None:
            if full in done:
                return
            for _, prop, required in self.fields(full):
                target = self.reference(prop)
                if target in self.own and self.always_present(full, _, target, required):
                    visit(target)
            done.append(full)

        for full in sorted(self.own):
            visit(full)
        return done

    def fields(self, full: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
        definition = self.defs[full]
        required = set(definition.get("required", ()))
        properties = definition.get("properties", {})
        for name in sorted(properties, key=lambda name: FIRST_FIELDS.get(name, len(FIRST_FIELDS))):
            yield name, properties[name], name in required

    def reference(self, prop: dict[str, Any]) -> str:
        ref: str = prop.get("$ref", "")
        return ref.rpartition("/")[2]

    def always_present(self, full: str, name: str, target: str, required: bool) -> bool:
        """Whether a field of struct type is never None: required ones, and the parts every object has."""
        if target in SCALARS or not module_of(target) or not self.defs[target].get("properties"):
            return False
        if required or target in (META + "ObjectMeta", META + "ListMeta"):
            return True
        return name in ("spec", "status") and "metadata" in self.defs[full]["properties"]

    def struct(self, full: str) -> str:
        name = full.rpartition(".")[2]
        kinds = self.defs[full].get("x-kubernetes-group-version-kind", [])
        fields = [self.field(full, *item, kinds=kinds) for item in self.fields(full)]
        return f'class {name}({BASE}, rename="camel"):\n' + "\n".join(f"    {line}" for line in fields or ["pass"])

    def field(self, full: str, name: str, prop: dict[str, Any], required: bool, kinds: list[dict[str, str]]) -> str:
        python = snake(name)
        if name in ("apiVersion", "kind") and len(kinds) == 1:
            kind = kinds[0]
            value = kind["kind"] if name == "kind" else f"{kind['group']}/{kind['version']}".lstrip("/")
            return f'{python}: str = field(default_factory=lambda: "{value}")'
        annotation, default = self.typed(full, name, prop, required)
        renamed = "" if camel(python) == name else f', name="{name}"'
        if default == "None" and not renamed:
            return f"{python}: {annotation} = None"
        if default == "LabelSelector":  # one for all that have none, so that an empty one can be told from it
            return f"{python}: {annotation} = LabelSelector()"
        return f"{python}: {annotation} = field(default{'' if default == 'None' else '_factory'}={default}{renamed})"

    def typed(self, full: str, name: str, prop: dict[str, Any], required: bool) -> tuple[str, str]:
        target = self.reference(prop)
        base = self.type_of(prop)
        shape = self.shape(prop, required)
        if base == "Any":
            annotation, default = "Any", "None"
        elif target and self.always_present(full, name, target, required):
            annotation, default = base, base
        elif required and base in ZEROS:
            annotation, default = base, ZEROS[base]
        elif required and base.startswith("tuple"):
            annotation, default = base, "no_items"
        elif required and base.startswith("Mapping"):
            annotation, default = base, "no_entries"
        else:
            annotation, default = f"{base} | None", "None"
        return (f"Annotated[{annotation}, {shape}]" if shape else annotation), default

    def type_of(self, prop: dict[str, Any]) -> str:
        target = self.reference(prop)
        if target in SCALARS:
            return SCALARS[target]
        if target:
            module, short = module_of(target), target.rpartition(".")[2]
            if not self.defs[target].get("properties"):
                return self.type_of(self.defs[target])
            if module is None:  # an alpha type in a stable one: carried as it came
                return "Any"
            if module != self.name:
                self.imports.setdefault(module, set()).add(short)
            return short
        types = [t for t in as_list(prop.get("type", [])) if t != "null"]
        if types == ["array"]:
            return f"tuple[{self.type_of(prop['items'])}, ...]"
        if types == ["object"]:
            values = prop.get("additionalProperties")
            return f"Mapping[str, {self.type_of(values) if values else 'Any'}]"
        if not types:
            return "Any"
        found = PRIMITIVES.get((types[0], prop.get("format")))
        assert found is not None, (types, prop.get("format"))
        return found

    def shape(self, prop: dict[str, Any], required: bool) -> str:
        target = self.reference(prop)
        source = {**(self.defs[target] if target and target not in SCALARS else {}), **prop}
        parts = ["required=True"] if required else []
        for key, name in (("list-type", "list_type"), ("list-map-keys", "map_keys"), ("map-type", "map_type"),
                          ("patch-strategy", "patch_strategy"), ("patch-merge-key", "merge_key")):  # fmt: skip
            value = source.get(f"x-kubernetes-{key}")
            if value is not None:
                parts.append(f"{name}={tuple(value) if isinstance(value, list) else value!r}")
        item = self.reference(prop.get("items", {}))
        if item and self.defs[item].get("x-kubernetes-map-type") == "atomic":
            parts.append("items_atomic=True")
        return f"Shape({', '.join(parts)})" if parts else ""


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def camel(name: str) -> str:
    """msgspec's own rename rule, so that a field is named explicitly only where the rule is wrong."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def kinds_text(defs: dict[str, dict[str, Any]]) -> str:
    """The table of served kinds, from lightkube's resource modules read as text."""
    spec = importlib.util.find_spec("lightkube.resources")
    assert spec is not None and spec.submodule_search_locations, "install the development requirements first"
    rows = []
    by_kind = {
        (k["group"], k["version"], k["kind"]): full
        for full, d in defs.items()
        for k in d.get("x-kubernetes-group-version-kind", [])
        if module_of(full)
    }
    subresources: dict[tuple[str, str, str], list[tuple[str, str, tuple[str, ...]]]] = {}
    for path in sorted(Path(next(iter(spec.submodule_search_locations))).glob("*.py")):
        for info in api_infos(path):
            key = info["parent"] if "action" in info else info["resource"]
            if key not in by_kind and "action" not in info:
                continue
            if "action" in info:
                subresources.setdefault(key, []).append((info["action"], info["resource"][2], tuple(info["verbs"])))
            else:
                rows.append((key, info["plural"], info["namespaced"], tuple(info["verbs"])))
    lines = [
        '"""The kinds that kybern serves, generated by tools/generate_types.py. Do not edit."""',
        "",
        "from kybern.api import (",
        *(f"    {m}," for m in sorted(MODULES)),
        ")",
        "from kybern.api.kind import Kind, Subresource",
        "",
        "KINDS: tuple[Kind, ...] = (",
    ]
    for key, plural, namespaced, verbs in sorted(rows, key=lambda row: (row[0][0], row[0][1], row[1])):
        full = by_kind[key]
        listed = f"{module_of(full)}.{key[2]}List" if f"{full}List" in defs else "None"
        subs = "".join(f"Subresource({a!r}, {k!r}, {v!r}), " for a, k, v in sorted(set(subresources.get(key, []))))
        lines.append(
            f"    Kind(type={module_of(full)}.{key[2]}, list_type={listed}, group={key[0]!r}, version={key[1]!r}, kind={key[2]!r}, "
            f"plural={plural!r}, "
            f"namespaced={namespaced}, verbs={verbs!r}, subresources=({subs.strip()})),"
        )
    return "\n".join([*lines, ")"]) + "\n"


def api_infos(path: Path) -> Iterator[dict[str, Any]]:
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        base = ast.unparse(node.bases[0])
        call = next((s.value for s in node.body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Call)), None)
        if call is None:
            continue
        info: dict[str, Any] = {"namespaced": "Namespaced" in base}
        for word in call.keywords:
            assert word.arg is not None
            if isinstance(word.value, ast.Call):
                info[word.arg] = tuple(ast.literal_eval(a) for a in word.value.args)
            else:
                info[word.arg] = ast.literal_eval(word.value)
        yield info


def main() -> None:
    defs = definitions()
    written = []
    for name in MODULES:
        (OUT / f"{name}.py").write_text(Module(name, defs).text())
        written.append(str(OUT / f"{name}.py"))
    (OUT / "kinds.py").write_text(kinds_text(defs))
    written.append(str(OUT / "kinds.py"))
    subprocess.run([sys.executable, "-m", "ruff", "check", "-q", "--fix", "--select", "F401,I", *written], check=False)
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", *written], check=True)


if __name__ == "__main__":
    main()
