"""Protobuf message classes from a table: for protocols whose messages nobody generates code for.

    Device  ID:1:s health:2:s topology:3:TopologyInfo      one message: name:number:type

A type is `s` text, `y` bytes, `b` truth, `i` a whole number, `d` any number, `m` a map of texts, or another message; `*` marks a
repeated field and `%` a map from texts to messages.
"""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_classes(package: str, table: str) -> Mapping[str, Any]:
    """By the name of the message."""
    file = descriptor_pb2.FileDescriptorProto(name=f"kybern/{package}.proto", package=package, syntax="proto3")
    for text in re.split(r"\n(?=\S)", table.strip()):
        name, *fields = text.split()
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(package, message, *field.split(":"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{n}")) for n in names}


def _add_field(package: str, message: Any, name: str, number: str, type_: str) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=int(number))
    mapped = type_ == "m" or type_.startswith("%")
    repeated = type_.startswith("*") or mapped
    field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
    type_ = type_.removeprefix("*")
    scalars = {
        "s": kinds.TYPE_STRING,
        "y": kinds.TYPE_BYTES,
        "b": kinds.TYPE_BOOL,
        "i": kinds.TYPE_INT64,
        "d": kinds.TYPE_DOUBLE,
    }
    if type_ in scalars:
        field.type = scalars[type_]
        return
    field.type = kinds.TYPE_MESSAGE
    field.type_name = f".{package}.{type_}"
    if mapped:
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        made = message.nested_type.add(name=entry)
        made.options.map_entry = True
        _add_field(package, made, "key", "1", "s")
        _add_field(package, made, "value", "2", "s" if type_ == "m" else type_.removeprefix("%"))
        field.type_name = f".{package}.{message.name}.{entry}"
