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
from kybern.registry.customresources.correlation import Correlation
from kybern.registry.customresources.effort import CONSIDERED_MAX, Effort, TooMuch
from kybern.registry.customresources.embedded import embedded_resources
from kybern.registry.customresources.lists import list_types
from kybern.registry.customresources.places import ROOT, Check, Findings, Schema, Wrong, has_rules
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


TOO_MUCH = FieldError(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: validation takes too long or finds too much wrong; the rest of the object was not checked",
)


class Validation:
    def __init__(self, schema: Schema, type_errors: OwnErrors, scale_errors: OwnErrors) -> None:
        self.schema = schema
        self.values = compiled(without_plain_metadata(schema))
        self.embedded = embedded_resources(schema)
        self.lists = list_types(schema)
        self.rules = Rules(schema) if has_rules(schema) else None
        self.needs_metadata = self.rules is not None or bool(
            schema.get("properties", {}).get("metadata", {}).get("properties")
        )
        self.type_errors, self.scale_errors = type_errors, scale_errors

    def of_new(self, obj: CustomObject) -> list[FieldError]:
        """TakesLong where it does, while others wait."""
        if wrong_type := list(self.type_errors(obj)):
            return wrong_type
        value, wrong = self.document(obj), Findings(Effort())
        try:
            if self.values is not None:
                self.values(value, ROOT, wrong)
            wrong.add(Wrong(ROOT, error) for error in self.scale_errors(obj))
            for check in (self.embedded, self.lists):
                if check is not None:
                    check(value, ROOT, wrong)
        except TooMuch:
            return [*errors_of(wrong), TOO_MUCH]
        return self.with_rules(errors_of(wrong), value, None, wrong.effort)

    def of_change(self, new: CustomObject, old: CustomObject) -> list[FieldError]:
        """The same, of one that is there."""
        if wrong_type := list(self.type_errors(new)):
            return wrong_type
        value, before, effort = self.document(new), self.document(old), Effort(CONSIDERED_MAX)
        correlation = Correlation(self.schema, value, before, effort)
        errors: list[FieldError] = []
        try:
            wrong = [one for one in found(self.values, value, effort) if not correlation.is_old(one.place)]
            errors += errors_of(wrong)
            errors += self.scale_errors(new)
            errors += errors_of(found(self.embedded, value, effort))
            lists = found(self.lists, value, effort)
            if lists and not found(self.lists, before, effort):
                errors += errors_of(lists)
        except TooMuch:
            return [*errors, TOO_MUCH]
        return self.with_rules(errors, value, correlation, effort)

    def with_rules(
        self, errors: list[FieldError], value: Document, correlation: Correlation | None, effort: Effort
    ) -> list[FieldError]:
        if self.rules is None:
            return errors
        if any(error.reason in BLOCKING for error in errors):
            return [*errors, NOT_CHECKED]
        return errors + self.rules.judged(correlation or Correlation(self.schema, value, None, effort), effort)

    def document(self, obj: CustomObject) -> Document:
        """The object as plain JSON; its metadata only where somebody looks at it."""
        return {**obj, "metadata": to_builtins(obj.metadata) if self.needs_metadata else {}}


class Rules:
    """The schema's expressions; the engine that they need is loaded with the first."""

    def __init__(self, schema: Schema) -> None:
        from kybern.registry.customresources.rules import Evaluation, rules_of

        self.part = rules_of(schema)
        self._evaluation = Evaluation

    def judged(self, change: Correlation, effort: Effort) -> list[FieldError]:
        return self._evaluation(change, effort).run(self.part) if self.part is not None else []


def without_plain_metadata(schema: Schema) -> Schema:
    """What is said of `metadata`, `kind` and `apiVersion` beside what holds for every object anyway: as a rule nothing."""
    properties = schema.get("properties", {})
    kept = {key: part for key, part in properties.items() if key != "metadata" or part.get("properties")}
    return {**schema, "properties": kept}


def found(check: Check | None, value: Any, effort: Effort) -> Findings:
    wrong = Findings(effort)
    if check is not None:
        check(value, ROOT, wrong)
    return wrong


def errors_of(wrong: Iterable[Wrong]) -> list[FieldError]:
    return [one.error for one in wrong]
