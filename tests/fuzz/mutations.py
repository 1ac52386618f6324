"""Bodies that are nearly right: valid ones, spoilt a little by their grammar, or their bytes.

A mutation of the grammar puts something hostile where something valid was, so that it is read far into the server; one of
the bytes meets the parsers. Patches are made of the same pieces, with every directive of their languages.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from any_object import TEXTS

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 1e400, -0.0, 1.5, 1e21, 10**400, "", " ", "a" * 300,
    "..", "../..", "%2f", "\x00", "a\nb", "\u202e", "\ud800", "é", "Ünïcode", "-1", "0x1", "1e1000000", "1Ei", "0." + "0" * 30 + "1", "NaN",
    "yes", "2026-01-01", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "10.0.0.256", "::1", "300.300.300.300/99", "https://[", "$(X)",
    "*", "a/b/c", "(a+)+$", "{{", "self", "object.x", "1 +", [], {}, [None], [[]], [{}], {"": ""}, {"a": None}, [1, "a"], {"$patch": "delete"},
    {"$patch": "replace"}, "2147483648", "100%", "101%", "-1%", "%", *TEXTS,
)  # fmt: skip
NAMES = (
    "$patch",
    "$retainKeys",
    "$setElementOrder/x",
    "$deleteFromPrimitiveList/x",
    "unknown",
    "",
    "a.b",
    "Kind",
    "METADATA",
    "x/y",
    "\x00",
)
FORGED_MANAGERS: tuple[Any, ...] = (
    [{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {}}}}],
    [{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"k:{": {}, "f:": {}, "v:1": {}, ".": {}}}],
    [{"manager": "m", "operation": "Update", "apiVersion": "nope/v9", "time": "2026-01-01T00:00:00Z", "fieldsV1": {}}],
    [{"manager": "m", "operation": "Delete"}],
    [{}],
    [],
)  # fmt: skip
DIRECTIVES: tuple[Any, ...] = ("delete", "replace", "merge", "nope", 1, None, {})
DEPTHS = (50, 150, 300)

Body = Any
FLOAT_BITS = 1024  # of a number that a fraction can be added to


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(pairs):
        yield value, key
        yield from spots(item)


def spoilt(value: Any, rng: random.Random, others: tuple[Any, ...]) -> Any:
    """The document with one to three things wrong; `others` are documents that pieces may come from."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = list(spots(value))
        if not found:
            return rng.choice(HOSTILE)
        container, key = rng.choice(found)
        rng.choice(GRAMMAR)(container, key, rng, others)
    return value


def put_hostile(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    """Mostly of the same type, so that it is not the decoder alone that sees it."""
    item = container[key]
    same = [value for value in HOSTILE if type(value) is type(item)] if rng.random() < 0.7 else []
    container[key] = copy.deepcopy(rng.choice(same or HOSTILE))


def remove(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    del container[key]


def double(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[rng.choice(NAMES)] = copy.deepcopy(container[key])


def many(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    container[key] = [copy.deepcopy(container[key]) for _ in range(rng.choice((2, 5, 300)))]


def wrap(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    item = container[key]
    container[key] = rng.choice(([item], {"a": item}, str(item)))


def deepen(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    for _ in range(rng.choice(DEPTHS)):
        container[key] = [container[key]] if rng.random() < 0.5 else {"a": container[key]}


def take_from_another(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    other = list(spots(rng.choice(others)))
    item = container[key]
    same = [(from_, at) for from_, at in other if type(from_[at]) is type(item)] if rng.random() < 0.8 else []
    from_, at = rng.choice(same or other)
    container[key] = copy.deepcopy(from_[at])


def tweak(container: Any, key: Any, rng: random.Random, others: tuple[Any, ...]) -> None:
    item = container[key]
    if isinstance(item, str):
        at = rng.randrange(len(item) + 1)
        container[key] = item[:at] + rng.choice(("", "A", "-", ".", "/", "%", " ", "é", item)) + item[at + 1 :]
    elif isinstance(item, int):
        step = rng.choice((-1, 1, 2**32, -(2**32), 0.5))
        container[key] = item + (step if item.bit_length() < FLOAT_BITS else int(step))
    elif isinstance(item, list):
        rng.shuffle(item)
    else:
        put_hostile(container, key, rng, others)


GRAMMAR: tuple[Callable[[Any, Any, random.Random, tuple[Any, ...]], None], ...] = (
    put_hostile, put_hostile, put_hostile, put_hostile, put_hostile, remove, remove, double, many, wrap, deepen,
    take_from_another, take_from_another, take_from_another, tweak, tweak, tweak, tweak,
)  # fmt: skip


def spoilt_bytes(body: bytes, rng: random.Random, other: bytes) -> bytes:
    found = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at:at] = rng.choice(
                    (
                        b"{",
                        b"]",
                        b'"',
                        b",",
                        b"\x00",
                        b"\xff",
                        b"\xed\xa0\x80",
                        b"- ",
                        b"&a ",
                        b"*a",
                        b"!!x ",
                        b"\t",
                        b"9" * 400,
                    )
                )
            case 2:
                del found[at : at + rng.choice((1, 4, 40))]
            case 3:
                del found[at:]
            case 4:
                start = rng.randrange(len(other) + 1)
                found[at:at] = other[start : start + rng.choice((1, 8, 200))]
            case _:
                end = at + rng.choice((4, 20, 100))
                found[at:at] = found[at:end]
    return bytes(found)


# --- patches ----------------------------------------------------------------------------------------------------------


def json_patch(target: Any, rng: random.Random, others: tuple[Any, ...]) -> Any:
    paths = [path for path, _ in pointers(target)]

    def path() -> Any:
        base = rng.choice(paths)
        return rng.choice(
            (
                base,
                base,
                base,
                f"{base}/-",
                f"{base}/0",
                f"{base}/9223372036854775808",
                f"{base}/~2",
                f"{base}/a~1b",
                "",
                "/",
                "x",
                1,
                None,
            )
        )

    def operation() -> dict[str, Any]:
        made = {
            "op": rng.choice(("add", "add", "remove", "replace", "replace", "move", "copy", "test", "nope", 1, None)),
            "path": path(), "from": path(), "value": rng.choice((copy.deepcopy(rng.choice(HOSTILE)), rng.choice(others))),
        }  # fmt: skip
        return {key: value for key, value in made.items() if key == "op" or rng.random() < 0.95}

    return [operation() for _ in range(rng.choice((0, 1, 1, 2, 3, 30)))]


def pointers(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    yield at, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from pointers(item, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")


def merge_patch(target: Any, rng: random.Random, others: tuple[Any, ...]) -> Any:
    return spoilt(thinned(target, rng), rng, others)


def strategic_patch(target: Any, rng: random.Random, others: tuple[Any, ...]) -> Any:
    patch = merge_patch(target, rng, others)
    for container, key in list(spots(patch)):
        item = container[key] if isinstance(container, list) or key in container else None
        if isinstance(item, dict) and rng.random() < 0.15:
            item["$patch"] = copy.deepcopy(rng.choice(DIRECTIVES))
        if isinstance(item, dict) and rng.random() < 0.1:
            item["$retainKeys"] = rng.choice((list(item), [], [1], "a", None))
        if isinstance(item, list) and isinstance(container, dict) and rng.random() < 0.2:
            container[f"$setElementOrder/{key}"] = copy.deepcopy(rng.choice((item, item[:1], [{}], [1], None, "a")))
        if isinstance(item, list) and isinstance(container, dict) and rng.random() < 0.2:
            container[f"$deleteFromPrimitiveList/{key}"] = copy.deepcopy(rng.choice((item, ["a"], [{}], None, "a")))
    return patch


def applied(target: Any, rng: random.Random, others: tuple[Any, ...]) -> Any:
    config = thinned(target, rng)
    for field in ("apiVersion", "kind"):
        config[field] = target[field]
    metadata = config.get("metadata") or {}
    config["metadata"] = {
        key: value for key, value in metadata.items() if key in ("name", "labels", "annotations", "finalizers")
    }
    return spoilt(config, rng, others) if rng.random() < 0.8 else config


def thinned(value: Any, rng: random.Random) -> Any:
    """A part of a document."""
    if isinstance(value, dict):
        return {key: thinned(item, rng) for key, item in value.items() if rng.random() < 0.8}
    return copy.deepcopy(value)


def as_text(value: Any) -> bytes:
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except RecursionError:  # deeper than this process can write
        return b"[" * 10_000
