"""What may be said of a device in an expression, compiled once: `device.driver == "gpu.example.com"`."""

from functools import lru_cache

from kybern.cel import BOOL, DYN, CompileFailed, Environment, Program

PROGRAMS_MAX = 1024
ENVIRONMENT = Environment({"device": DYN})


@lru_cache(maxsize=PROGRAMS_MAX)
def program(expression: str) -> Program:
    return ENVIRONMENT.compile(expression, BOOL)


def wrong_with(expression: str) -> str:
    """Empty: it compiles."""
    try:
        program(expression)
    except CompileFailed as error:
        return f"compilation failed: {error}"
    return ""
