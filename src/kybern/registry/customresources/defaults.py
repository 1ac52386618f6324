"""Are a schema's defaults themselves what the schema allows, without fields that would be pruned at once?"""

from collections.abc import Iterator, Mapping

from kybern.api.invalid import FieldError, invalid_value
from kybern.api.schema import of_openapi
from kybern.api.strict import pruned
from kybern.registry.customresources.embedded import embedded_resources
from kybern.registry.customresources.places import Place, Schema, Wrong, steps, text
from kybern.registry.customresources.values import compiled


def default_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    if schema.get("default") is not None:
        yield from own_errors(schema, f"{at}.default")
    if isinstance(schema.get("items"), Mapping):
        yield from default_errors(schema["items"], f"{at}.items")
    for name, part in schema.get("properties", {}).items():
        yield from default_errors(part, f"{at}.properties[{name}]")


def own_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    default = schema["default"]
    if pruned(of_openapi(schema), default) is not default:
        yield invalid_value(at, default, "must not have unknown fields")
        return
    for check in (embedded_resources(schema), compiled(schema)):
        wrong: list[Wrong] = []
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
