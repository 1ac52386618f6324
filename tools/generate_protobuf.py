"""Reads the field numbers of Kubernetes' protobuf encoding out of Go sources, and writes kybern's table of them.

    tools/generate_protobuf.py <folder with api/, apimachinery/, apiextensions-apiserver/, kube-aggregator/ of k8s.io>

A line of the table is a message; a field of it is `name=number:type`, `>` where Go embeds the message in its parent's
JSON. A type is a letter (see `kybern.api.protobuf.decode`) or another message; `?` marks a pointer, whose zero means
something, `*` a list, `%` a map from texts.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).parent.parent / "src/kybern/api/protobuf/messages.txt"
GROUPS = ("core", "apps", "batch", "autoscaling", "policy", "networking", "discovery", "events", "rbac", "authentication",
          "authorization", "certificates", "coordination", "node", "scheduling", "storage", "admissionregistration",
          "flowcontrol", "resource", "storagemigration")  # fmt: skip
FOLDERS = {
    **{f"{group}_v1": f"api/{group}/v1" for group in GROUPS},
    "autoscaling_v2": "api/autoscaling/v2",
    "meta_v1": "apimachinery/pkg/apis/meta/v1",
    "apiextensions_v1": "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "apiregistration_v1": "kube-aggregator/pkg/apis/apiregistration/v1",
}
MODULE_OF = {f"k8s.io/{folder}": module for module, folder in FOLDERS.items()}
SPECIAL = {
    "meta_v1.Time": "t", "meta_v1.MicroTime": "u", "meta_v1.FieldsV1": "r",
    "resource.Quantity": "q", "intstr.IntOrString": "i", "runtime.RawExtension": "r", "apiextensions_v1.JSON": "r",
    "apiextensions_v1.JSONSchemaPropsOrArray": "a", "apiextensions_v1.JSONSchemaPropsOrBool": "c",
    "apiextensions_v1.JSONSchemaPropsOrStringArray": "d", "types.UID": "s", "types.NodeName": "s", "string": "s",
    "bool": "o", "int32": "v", "int64": "v", "int": "v", "uint32": "v", "uint64": "v", "float64": "f", "[]byte": "b",
}  # fmt: skip

SOURCE = re.compile(r"(types(_jsonschema)?|group_version)\.go")
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
EMPTY = re.compile(r"^type (\w+) struct ?\{\}", re.MULTILINE)
NAMED = re.compile(r"^(?:type |\t)(\w+) (\[\]\w[\w.]*|map\[\w+\][\w.]+|[\w.]+)$", re.MULTILINE)
IMPORT = re.compile(r'^(?:\t|import )(?:(\w+) )?"([^"]+)"$', re.MULTILINE)
FIELD = re.compile(
    r'^\t(?:(\w+)\s+)?(\S+)\s+`json:"([^"]*)"(?:\s+\w+:"[^"]*")*?\s+protobuf:"(\w+),(\d+),[^"]*"', re.MULTILINE
)


class Sources:
    def __init__(self, root: Path) -> None:
        self.texts = {
            module: "".join(p.read_text() for p in sorted((root / folder).glob("*.go")) if SOURCE.match(p.name))
            for module, folder in FOLDERS.items()
        }
        self.imports = {module: dict(_imports(text)) for module, text in self.texts.items()}
        self.structs = {f"{m}.{name}": body for m, text in self.texts.items() for name, body in STRUCT.findall(text)}
        self.structs |= {f"{m}.{name}": "" for m, text in self.texts.items() for name in EMPTY.findall(text)}
        self.named = {f"{m}.{name}": (m, to) for m, text in self.texts.items() for name, to in NAMED.findall(text)}

    def lines(self) -> Iterator[str]:
        for full, body in sorted(self.structs.items()):
            module = full.partition(".")[0]
            fields = [self.field(module, *found) for found in FIELD.findall(body)]
            fields = [field for field in fields if not field.endswith("-")]
            if fields and full not in SPECIAL:
                yield f"{full} {' '.join(fields)}"

    def field(self, module: str, name: str, type_: str, json: str, wire: str, number: str) -> str:
        key = json.partition(",")[0]
        embedded = not key or ",inline" in json
        return f"{'>' if embedded else key}={number}:{self.type(module, type_)}"

    def type(self, module: str, go: str) -> str:
        if go in SPECIAL:
            return SPECIAL[go]
        if go.startswith("*"):
            return "?" + self.type(module, go[1:])
        if go.startswith("[]"):
            return "*" + self.type(module, go[2:])
        if go.startswith("map["):
            value = self.type(module, go.partition("]")[2])
            return "%" + ("e" if value == "*s" else value)
        full = self.full_name(module, go)
        if full in SPECIAL:
            return SPECIAL[full]
        if full in self.structs:
            return full
        if full in self.named:
            return self.type(*self.named[full])
        if full.partition(".")[0] not in self.texts:
            return "-"  # of an alpha group, which kybern does not serve
        raise SystemExit(f"{module}: what is {go}?")

    def full_name(self, module: str, go: str) -> str:
        package, dot, name = go.partition(".")
        if not dot:
            return f"{module}.{go}"
        path = self.imports[module].get(package, package)
        return f"{MODULE_OF.get(path, path.rpartition('/')[2])}.{name}"


def _imports(text: str) -> Iterator[tuple[str, str]]:
    for alias, path in IMPORT.findall(text):
        yield alias or path.rpartition("/")[2], path


def main() -> None:
    lines = list(Sources(Path(sys.argv[1])).lines())
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} messages, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
