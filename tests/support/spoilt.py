"""What is said of a valid object of a kind when some of its fields are made something else.

spoilt("Job", {"spec.completions": -1})                       # -> the errors, as a client reads them
spoilt("Job", {"spec.suspend": True}, was={"status.active": 1})  # -> the errors of an update
"""

import json
from typing import Any

from valid_objects import valid_objects

from kybern.api.codec import decode, encode
from kybern.registry import RESOURCES
from kybern.registry.resource import Resource

Places = dict[str, Any]
"""Where (`spec.ports.0.name`), and what is put there; None leaves it out."""


def spoilt(name: str, places: Places, was: Places | None = None, sub: str = "") -> list[str]:
    """`name` may tell the group and version: `autoscaling/v2/HorizontalPodAutoscaler`. `was`: of what it is an update."""
    version, _, kind = name.rpartition("/")
    rules = next(r for r in RESOURCES if r.kind.kind == kind and r.kind.api_version.startswith(version))
    new = made(rules, places)
    if sub:
        validate = next(one.validate for one in rules.subresources if one.name == sub)
        return [str(error) for error in validate(new, made(rules, was or {}))]
    if was is not None:
        if rules.validate_update is None:
            return [str(error) for error in rules.validate(new)]
        return [str(error) for error in rules.validate_update(new, made(rules, was))]
    return [str(error) for error in rules.validate(new)]


def made(rules: Resource, places: Places) -> Any:
    obj = valid_objects()[rules.kind]
    obj["metadata"]["uid"] = "7b0c"
    status = {place: value for place, value in places.items() if place.startswith("status")}
    put(obj, {place: value for place, value in places.items() if place not in status})
    whole = json.loads(encode(rules.on_create(rules.default(decode(rules.kind.type, encode(obj))))))
    put(whole, status)
    return decode(rules.kind.type, encode(whole))


def put(obj: Any, places: Places) -> None:
    for place, value in places.items():
        *path, last = place.split(".")
        where = obj
        for step in path:
            where = where[int(step)] if step.isdecimal() else where.setdefault(step, {})
        if last.isdecimal():
            where[int(last)] = value
        elif value is None:
            where.pop(last, None)
        else:
            where[last] = value
