"""Are a schema's defaults themselves what the schema allows, without fields that would be pruned at once?"""

from collections.abc import Iterator, Mapping

from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.api.schema import of_openapi
from kybern.api.strict import pruned
from kybern.registry.customresources.effort import Effort, TooMuch
from kybern.registry.customresources.embedded import embedded_resources
from kybern.registry.customresources.places import Findings, Place, Schema, steps, text
from kybern.registry.customresources.values import compiled

TOO_MUCH = "the defaults of a schema take too long to validate"


def default_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    try:
        yield from errors_within(schema, at, Effort())
    except TooMuch:
        yield forbidden_field(at, TOO_MUCH)


def errors_within(schema: Schema, at: str, effort: Effort) -> Iterator[FieldError]:
    if schema.get("default") is not None:
        yield from own_errors(schema, f"{at}.default", effort)
    if isinstance(schema.get("items"), Mapping):
        yield from errors_within(schema["items"], f"{at}.items", effort)
    for name, part in schema.get("properties", {}).items():
        yield from errors_within(part, f"{at}.properties[{name}]", effort)


def own_errors(schema: Schema, at: str, effort: Effort) -> Iterator[FieldError]:
    default = schema["default"]
    if pruned(of_openapi(schema), default) is not default:
        yield invalid_value(at, default, "must not have unknown fields")
        return
    for check in (embedded_resources(schema), compiled(schema)):
        wrong = Findings(effort)
        if check is not None:
            check(default, None, wrong)
        if wrong:
            yield from (placed(one.error, one.place, at) for one in wrong)
            return


def placed(error: FieldError, place: Place, at: str) -> FieldError:
    """An error of a default as one of the definition that it stands in."""
    if not steps(place):
        return FieldError(at, error.reason, error.body)
    return FieldError(f"{at}.{text(place)}" if error.field != "<nil>" else error.field, error.reason, error.body)
