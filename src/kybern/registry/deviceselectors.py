"""What may be said of a device in an expression, compiled once: `device.driver == "gpu.example.com"`.

What a device has is known by its shape and by how much there can be of it, so that a name that no device has is told when the
expression is written, and so is one that would take too long.
"""

from collections.abc import Mapping
from functools import lru_cache

from kybern.cel import BOOL, DYN, STRING, CompileFailed, Environment, Field, Program, map_of, object_of
from kybern.cel.libraries.quantity import QUANTITY_TYPE

PROGRAMS_MAX = 1024
COST_MAX = 1_000_000
UNTOLD = 2**64 - 1  # it reads an attribute whose type nobody has said; each evaluation has its limit all the same
DOMAIN, NAME = STRING.bounded(63), STRING.bounded(32)
PARTS_MAX = 32
VALUE = DYN.bounded(64)


def fields() -> Mapping[str, Field]:
    types = {
        "driver": DOMAIN,
        "attributes": map_of(DOMAIN, map_of(NAME, VALUE, PARTS_MAX), PARTS_MAX),
        "capacity": map_of(DOMAIN, map_of(NAME, QUANTITY_TYPE, PARTS_MAX), PARTS_MAX),
        "allowMultipleAllocations": BOOL,
    }
    return {name: Field(type_, name) for name, type_ in types.items()}


ENVIRONMENT = Environment({"device": object_of("kubernetes.DRADevice", fields)})


@lru_cache(maxsize=PROGRAMS_MAX)
def program(expression: str) -> Program:
    return ENVIRONMENT.compile(expression, BOOL)


def wrong_with(expression: str) -> str:
    """Empty: it compiles."""
    try:
        program(expression)
    except CompileFailed as error:
        return error.told()
    return ""


def is_costly(expression: str) -> bool:
    """Whether one that compiles may take longer than any device is worth, where that can be told before it runs."""
    return COST_MAX < program(expression).estimate.most < UNTOLD
