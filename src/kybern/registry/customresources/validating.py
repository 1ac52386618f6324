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
from kybern.registry.customresources.correlation import is_old
from kybern.registry.customresources.embedded import embedded_resources
from kybern.registry.customresources.lists import list_types
from kybern.registry.customresources.places import ROOT, Check, Place, Schema, Wrong, has_rules, parts_of
from kybern.registry.customresources.values import compiled

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


TRIES_MAX = 1000
"""At once: of alternatives, and of fields that have to be there."""

WHAT_IT_IS: tuple[Place, ...] = ((ROOT, "apiVersion"), (ROOT, "kind"))
"""Rules about these hold for every write, as upstream's do."""


class Validation:
    def __init__(self, schema: Schema, type_errors: OwnErrors, scale_errors: OwnErrors) -> None:
        self.schema = schema
        self.values = compiled(without_plain_metadata(schema))
        self.embedded = embedded_resources(schema)
        self.lists = list_types(schema)
        self.rules = Rules(schema) if has_rules(schema) else None
        self.takes_long = tries_in(schema) > TRIES_MAX or (self.rules is not None and self.rules.takes_long)
        self.needs_metadata = self.rules is not None or bool(
            schema.get("properties", {}).get("metadata", {}).get("properties")
        )
        self.type_errors, self.scale_errors = type_errors, scale_errors

    def of_new(self, obj: CustomObject) -> list[FieldError]:
        if wrong_type := list(self.type_errors(obj)):
            return wrong_type
        value = self.document(obj)
        wrong = [*found(self.values, value)]
        errors = [one.error for one in wrong]
        errors += self.scale_errors(obj)
        errors += (one.error for check in (self.embedded, self.lists) for one in found(check, value))
        return self.with_rules(errors, value, None)

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
        return self.with_rules(errors, value, before)

    def with_rules(self, errors: list[FieldError], value: Document, before: Document | None) -> list[FieldError]:
        if self.rules is None:
            return errors
        if any(error.reason in BLOCKING for error in errors):
            return [*errors, NOT_CHECKED]

        def unchanged(place: Place) -> bool:
            return before is not None and place not in WHAT_IT_IS and is_old(place, self.schema, value, before)

        return errors + self.rules.judged(unchanged, value, before)

    def document(self, obj: CustomObject) -> Document:
        """The object as plain JSON; its metadata only where somebody looks at it."""
        return {**obj, "metadata": to_builtins(obj.metadata) if self.needs_metadata else {}}


class Rules:
    """The schema's expressions; the engine that they need is loaded with the first."""

    def __init__(self, schema: Schema) -> None:
        from kybern.registry.customresources.rules import LIGHT_COST_MAX, Evaluation, most_expensive, rules_of

        self.part = rules_of(schema)
        self.takes_long = self.part is not None and most_expensive(self.part) > LIGHT_COST_MAX
        self._evaluation = Evaluation

    def judged(self, is_unchanged: Callable[[Place], bool], value: Any, before: Any) -> list[FieldError]:
        return self._evaluation(is_unchanged).run(self.part, value, before) if self.part is not None else []


def tries_in(schema: Schema) -> int:
    """How much there is to try even where an object says little."""
    found = [part.get(name) for part in parts_of(schema) for name in ("anyOf", "oneOf", "allOf", "required")]
    return sum(len(tries) for tries in found if isinstance(tries, list))


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
