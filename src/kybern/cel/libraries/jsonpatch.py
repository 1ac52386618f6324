"""What helps to write JSON patches in expressions."""

from kybern.cel import costs
from kybern.cel.functions import Library, function
from kybern.cel.types import STRING


def escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


JSON_PATCH: Library = (function("jsonpatch.escapeKey", (STRING,), STRING, escaped, costs.traversal()),)
