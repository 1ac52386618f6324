"""The table of messages: what each field number of each message means."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

GROUPS = {
    "": "core", "apps": "apps", "batch": "batch", "autoscaling": "autoscaling", "policy": "policy",
    "networking.k8s.io": "networking", "discovery.k8s.io": "discovery", "events.k8s.io": "events",
    "rbac.authorization.k8s.io": "rbac", "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization", "certificates.k8s.io": "certificates",
    "coordination.k8s.io": "coordination", "node.k8s.io": "node", "scheduling.k8s.io": "scheduling",
    "storage.k8s.io": "storage", "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions", "apiregistration.k8s.io": "apiregistration",
    "flowcontrol.apiserver.k8s.io": "flowcontrol", "resource.k8s.io": "resource",
    "storagemigration.k8s.io": "storagemigration",
}  # fmt: skip
EMBEDDED = ">"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    """Its JSON name; `>` where the message's fields are the parent's own."""
    form: Literal["one", "list", "map"]
    kind: str
    """A letter for a scalar or a type with an encoding of its own, else a message's name."""
    pointer: bool
    """Whether a zero means something: what is no pointer is sent even when it is absent."""


@cache
def messages() -> dict[str, dict[int, Field]]:
    found = {}
    for line in files("kybern.api.protobuf").joinpath("messages.txt").read_text().splitlines():
        name, *fields = line.split()
        found[name] = dict(map(_field, fields))
    return found


def _field(text: str) -> tuple[int, Field]:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(":")
    pointer = kind.startswith("?")
    kind = kind.removeprefix("?")
    form: Literal["one", "list", "map"] = "list" if kind[0] == "*" else "map" if kind[0] == "%" else "one"
    return int(number), Field(name, form, kind.lstrip("*%"), pointer)


def message_of(api_version: str, kind: str) -> str | None:
    """The message of a kind; options come in the version of whatever they are about."""
    group, _, version = api_version.rpartition("/")
    for name in (f"{GROUPS.get(group, group)}_{version}.{kind}", f"meta_v1.{kind}"):
        if name in messages():
            return name
    return None
