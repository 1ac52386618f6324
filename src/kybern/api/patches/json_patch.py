"""JSON patch (RFC 6902): a list of operations, all of them or none.

The document is copied once and the copy is changed in place, so ten thousand operations stay affordable. What `copy`
adds is counted: a short patch must not make a huge document.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from kybern.api.codec import untyped
from kybern.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from kybern.api.go_messages import go_name
from kybern.api.strict import DEPTH_MAX, depth

OPERATIONS_MAX = 10_000
COPIED_BYTES_MAX = 3 * 1024 * 1024
SHIFTED_MAX = 500_000_000  # items that make way in lists: some tenths of a second

REJECTED = "the server rejected our request due to an error in our request"

_encode = msgspec.json.Encoder().encode


class _Unfit(Exception):
    """The patch does not apply to this document; the message says why."""


def apply_json_patch(document: Any, patch: Any) -> Any:
    """The patched document. BadRequest, RequestEntityTooLarge or Invalid as upstream answers."""
    operations = _checked(patch)
    target = _Target(_copy(document))
    for operation in operations:
        try:
            OPERATIONS[operation["op"]](target, operation)
        except _Unfit as why:
            raise Invalid(REJECTED) from why  # upstream does not tell clients more
    found = target.root["document"]
    if depth(found) > DEPTH_MAX:  # patch after patch could make it deeper than anybody can read
        raise BadRequest("error decoding patch: exceeded max depth")
    return found


def _checked(patch: Any) -> list[dict[str, Any]]:
    if not isinstance(patch, list):
        raise BadRequest(f"json: cannot unmarshal {go_name(patch)} into Go value of type jsonpatch.Patch")
    if len(patch) > OPERATIONS_MAX:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(patch)}"
        )
    for operation in patch:
        if not isinstance(operation, dict):
            raise BadRequest(f"json: cannot unmarshal {go_name(operation)} into Go value of type jsonpatch.Operation")
        name = operation.get("op")
        if not isinstance(name, str) or name not in OPERATIONS:
            raise Invalid(REJECTED)
        for field in ("path", "from") if name in ("move", "copy") else ("path",):
            if not isinstance(operation.get(field), str):
                raise Invalid(REJECTED)
        if name in ("add", "replace", "test") and "value" not in operation:
            raise Invalid(REJECTED)
    return patch


def _copy(value: Any) -> Any:
    return untyped(_encode(value))


class _Target:
    """The document under a root of its own, so that the whole of it is an ordinary place too."""

    def __init__(self, document: Any) -> None:
        self.root = {"document": document}
        self.copied_bytes = self.shifted = 0

    def shift(self, items_count: int) -> None:
        """So many items make way for one, or close its gap."""
        self.shifted += items_count
        if self.shifted > SHIFTED_MAX:
            raise RequestEntityTooLarge("the operations of the patch move too many items of lists")

    def place(self, operation: str, path: str) -> tuple[Any, str]:
        """The container of a place, and the key or index in it."""
        if path and not path.startswith("/"):
            raise _Unfit(f"{operation} operation does not apply: doc is missing path: {path!r}: missing value")
        container: Any = self.root
        key = "document"
        for step in path.split("/")[1:]:
            try:
                container = self.get(container, key)
            except KeyError:
                raise _Unfit(
                    f'{operation} operation does not apply: doc is missing path: "{path}": missing value'
                ) from None
            key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(container, dict | list):
            raise _Unfit(f'{operation} operation does not apply: doc is missing path: "{path}": missing value')
        return container, key

    @staticmethod
    def get(container: Any, key: str) -> Any:
        """KeyError where nothing is."""
        if isinstance(container, list):
            return container[index(container, key, len(container) - 1)]
        if isinstance(container, dict):
            return container[key]
        raise KeyError(key)


def index(items: list[Any], key: str, most: int) -> int:
    if not key.isascii() or not key.isdecimal() or (len(key) > 1 and key[0] == "0") or len(key) > 9 or int(key) > most:
        raise KeyError(key)
    return int(key)


def _add(target: _Target, operation: dict[str, Any]) -> None:
    _put(target, "add", operation["path"], operation["value"])


def _put(target: _Target, name: str, path: str, value: Any) -> None:
    container, key = target.place(name, path)
    if isinstance(container, dict):
        container[key] = value
        return
    try:
        at = len(container) if key == "-" else index(container, key, len(container))
    except KeyError:
        raise _Unfit(f"Unable to access invalid index: {key}: invalid index referenced") from None
    target.shift(len(container) - at)
    container.insert(at, value)


def _remove(target: _Target, operation: dict[str, Any]) -> None:
    _take(target, "remove", operation["path"])


def _take(target: _Target, name: str, path: str) -> Any:
    value = _read(target, name, path)
    container, key = target.place(name, path)
    if not path:
        raise _Unfit(f"{name} operation does not apply: the whole document cannot be removed")
    if isinstance(container, list):
        target.shift(len(container) - int(key))
        container.pop(int(key))
    else:
        del container[key]
    return value


def _read(target: _Target, name: str, path: str) -> Any:
    container, key = target.place(name, path)
    try:
        return target.get(container, key)
    except KeyError:
        raise _Unfit(f"{name} operation does not apply: doc is missing key: {path}: missing value") from None


def _replace(target: _Target, operation: dict[str, Any]) -> None:
    _read(target, "replace", operation["path"])
    container, key = target.place("replace", operation["path"])
    container[int(key) if isinstance(container, list) else key] = operation["value"]


def _move(target: _Target, operation: dict[str, Any]) -> None:
    source, path = operation["from"], operation["path"]
    if path.startswith(source + "/"):
        raise _Unfit("move operation does not apply: a value cannot be moved into itself")
    if path != source:
        _put(target, "move", path, _take(target, "move", source))


def _copy_value(target: _Target, operation: dict[str, Any]) -> None:
    encoded = _encode(_read(target, "copy", operation["from"]))
    target.copied_bytes += len(encoded)
    if target.copied_bytes > COPIED_BYTES_MAX:
        raise _Unfit(
            f"Unable to copy, the accumulated size increase of copy is {target.copied_bytes}, "
            f"exceeding the limit {COPIED_BYTES_MAX}"
        )
    _put(target, "copy", operation["path"], untyped(encoded))


def _test(target: _Target, operation: dict[str, Any]) -> None:
    path = operation["path"]
    try:
        found = _read(target, "test", path)
    except _Unfit:
        found = None  # as upstream: an absent value equals null
    if not same(found, operation["value"]):
        raise _Unfit(f"testing value {path} failed: test failed")


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 equals 1.0, but true is no number."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


OPERATIONS: dict[str, Callable[[_Target, dict[str, Any]], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy_value,
    "test": _test,
}
