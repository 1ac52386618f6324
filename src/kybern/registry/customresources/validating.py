"""Everything that a definition asks of its objects, in upstream's order: the schema's values, scale, embedded objects,
lists, rules.

An update is judged less strictly than a new object: what was wrong before and has not changed is let be, so that a
schema can become stricter while objects of the time before it still can be written ("ratcheting").
"""

from collections.abc import Callable, Iterable
from typing import Any

from kybern.api.codec import to_builtins
from kybern.api.custom import CustomObject
from kybern.api.invalid import FieldError
from kybern.registry.customresources.embedded import embedded_resources
from kybern.registry.customresources.lists import list_types
from kybern.registry.customresources.places import ROOT, Check, Place, Schema, Wrong, steps
from kybern.registry.customresources.values import compiled, same

Document = dict[str, Any]
OwnErrors = Callable[[CustomObject], Iterable[FieldError]]

BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
"""Where a value is wrong in such a way, rules are not asked: they were written for values that are not."""

NOT_CHECKED = FieldError(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


class Validation:
    def __init__(self, schema: Schema, type_errors: OwnErrors, scale_errors: OwnErrors) -> None:
        self.schema = schema
        self.values = compiled(without_plain_metadata(schema))
        self.embedded = embedded_resources(schema)
        self.lists = list_types(schema)
        self.needs_metadata = bool(schema.get("properties", {}).get("metadata", {}).get("properties"))
        self.type_errors, self.scale_errors = type_errors, scale_errors

    def of_new(self, obj: CustomObject) -> list[FieldError]:
        if wrong_type := list(self.type_errors(obj)):
            return wrong_type
        value = self.document(obj)
        wrong = [*found(self.values, value)]
        errors = [one.error for one in wrong]
        errors += self.scale_errors(obj)
        errors += (one.error for check in (self.embedded, self.lists) for one in found(check, value))
        return errors

    def of_change(self, new: CustomObject, old: CustomObject) -> list[FieldError]:
        if wrong_type := list(self.type_errors(new)):
            return wrong_type
        value, before = self.document(new), self.document(old)
        wrong = found(self.values, value)
        errors = [one.error for one in wrong if not is_old(one.place, self.schema, value, before)]
        errors += self.scale_errors(new)
        errors += (one.error for one in found(self.embedded, value))
        lists = found(self.lists, value)
        if lists and not found(self.lists, before):
            errors += (one.error for one in lists)
        return errors

    def document(self, obj: CustomObject) -> Document:
        """The object as plain JSON; its metadata only where somebody looks at it."""
        return {**obj, "metadata": to_builtins(obj.metadata) if self.needs_metadata else {}}


def without_plain_metadata(schema: Schema) -> Schema:
    """What is said of `metadata`, `kind` and `apiVersion` beside what holds for every object anyway: as a rule nothing."""
    properties = schema.get("properties", {})
    kept = {key: part for key, part in properties.items() if key != "metadata" or part.get("properties")}
    return {**schema, "properties": kept}


def found(check: Check | None, value: Any) -> list[Wrong]:
    wrong: list[Wrong] = []
    if check is not None:
        check(value, ROOT, wrong)
    return wrong


# --- what was wrong before --------------------------------------------------------------------------------------------


def is_old(place: Place, schema: Schema, new: Any, old: Any) -> bool:
    """Whether something around a place, or just there, is as it was."""
    if same(new, old):
        return True
    for step in steps(place):
        if isinstance(step, int):
            old = counterpart(new[step], old, schema)
            new, schema = new[step], schema.get("items", {})
        elif step not in new:
            return False
        else:
            old = old.get(step) if isinstance(old, dict) else None
            new, schema = new[step], part_of(schema, step)
        if old is None:
            return False
        if same(new, old):
            return True
    return False


def part_of(schema: Schema, name: str) -> Schema:
    values = schema.get("additionalProperties")
    found_: Schema = schema.get("properties", {}).get(name) or (values if isinstance(values, dict) else {})
    return found_


def counterpart(item: Any, old: Any, schema: Schema) -> Any:
    """The item of the old list that an item of the new one is: told by its keys, in a list that has some."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return None
    keys = schema.get("x-kubernetes-list-map-keys", ())
    for other in old:
        if isinstance(other, dict) and all(item.get(key) == other.get(key) for key in keys):
            return other
    return None
