"""Paths that a definition names a part of its own schema by: `.spec.size`, `.spec.labels['example.com/size']`."""

import re
from collections.abc import Mapping

from kybern.registry.customresources.places import Schema

TOKEN = re.compile(r"[.\[\]]|'(?:\\.|[^'\\])*'|[^.\[\]']+")


class InvalidPath(ValueError):
    """The path leads nowhere, or is none; upstream's words say which."""


def resolved(path: str, schema: Schema, *, brackets: bool = True) -> tuple[list[str], Schema]:
    """The names on the way, and the part of the schema that the path leads to."""
    tokens = iter(TOKEN.findall(path))
    steps: list[str] = []
    for token in tokens:
        if token == "[":
            if not brackets:
                raise InvalidPath("array notation is not allowed")
            name = quoted(next(tokens, None))
            schema = part_of(schema, name)
            closing = next(tokens, None)
            if closing != "]":
                raise InvalidPath("unexpected end of JSON path" if closing is None else f"expected ] but got {closing}")
        elif token == ".":
            found = next(tokens, None)
            if found is None:
                raise InvalidPath("unexpected end of JSON path")
            name = found
            schema = part_of(schema, name)
        else:
            raise InvalidPath(f"expected [ or . but got: {token}")
        steps.append(name)
    return steps, schema


def quoted(token: str | None) -> str:
    if token is None:
        raise InvalidPath("unexpected end of JSON path")
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise InvalidPath(f"expected single quoted string but got {token}")
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def part_of(schema: Schema, name: str) -> Schema:
    properties, values = schema.get("properties"), schema.get("additionalProperties")
    if properties is not None:
        if name in properties:
            found: Schema = properties[name]
            return found
    elif isinstance(values, Mapping):
        return values
    raise InvalidPath("does not refer to a valid field")
