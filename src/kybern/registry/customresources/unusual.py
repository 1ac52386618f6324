"""What is odd about a definition and allowed all the same: formats that nobody knows, and sets of what is no scalar.

An update is told only of what it brings.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.registry.customresources.formats import FORMATS
from kybern.registry.customresources.places import Schema
from kybern.registry.customresources.schemas import JUNCTORS, LIST_TYPE
from kybern.registry.customresources.version import openapi_of

NUMBER_FORMATS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def warnings(definition: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Iterator[str]:
    if old is not None and old.spec.versions == definition.spec.versions:
        return
    formats, sets = oddities(definition)
    known_formats, known_sets = oddities(old) if old is not None else ([], set[str]())
    known = {*known_formats}
    for name in formats:
        if name not in known:
            yield f'unrecognized format "{name}"'
    for kind in sorted(sets - known_sets):
        why = "is not supported by server-side apply or CEL validation rules"
        yield f'{LIST_TYPE}: set for items of type "{kind}" {why}'


def oddities(definition: CustomResourceDefinition) -> tuple[list[str], set[str]]:
    """The formats that are not known, as often as they occur, and of what there are sets."""
    formats: list[str] = []
    sets: set[str] = set()
    for version in definition.spec.versions:
        for part in schemas_in(openapi_of(version)):
            name, items = part.get("format"), part.get("items")
            if name and not is_known(name, part.get("type") or ""):
                formats.append(name)
            if part.get(LIST_TYPE) == "set" and isinstance(items, Mapping) and items.get("type") in ("array", "object"):
                sets.add(items["type"])
    return formats, sets


def is_known(name: str, kind: str) -> bool:
    if kind in ("", "string"):
        return name.replace("-", "") in FORMATS
    return name in NUMBER_FORMATS.get(kind, ())


def schemas_in(schema: Schema) -> Iterator[Schema]:
    """It and every schema inside it."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        yield part
        waiting += [part.get("not"), part.get("items"), part.get("additionalProperties")]
        waiting += (part.get("properties") or {}).values()
        for junctor in JUNCTORS:
            waiting += part.get(junctor) or ()
