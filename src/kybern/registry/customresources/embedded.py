"""x-kubernetes-embedded-resource: a whole object inside another one, which says what it is and has valid metadata."""

from typing import Any

import msgspec

from kybern.api import names
from kybern.api.codec import from_builtins
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.api.meta_v1 import ObjectMeta
from kybern.registry.customresources.places import Check, Findings, Place, Schema, Wrong, everywhere, text
from kybern.registry.metadata import validate_metadata

STEPS = 1_000  # to read and judge the metadata
NAMELESS = "fakename"  # an embedded object may still wait for its name; something has to be judged


def embedded_resources(schema: Schema) -> Check | None:
    return everywhere(schema, lambda part: check if part.get("x-kubernetes-embedded-resource") else None)


def check(value: Any, place: Place, wrong: Findings) -> None:
    if isinstance(value, dict):
        wrong.effort.spend(STEPS)
        for error in errors_of(value, text(place)):
            wrong.append(Wrong(place, error))


def errors_of(value: dict[str, Any], at: str) -> list[FieldError]:
    found = [required(f"{at}.{name}") for name in ("apiVersion", "kind") if name not in value]
    for name in ("apiVersion", "kind"):
        said = value.get(name, "?")
        if not isinstance(said, str):
            found.append(invalid_value(f"{at}.{name}", said, "must be a string"))
        elif not said:
            found.append(invalid_value(f"{at}.{name}", said, "must not be empty"))
    version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and version.count("/") > 1:
        found.append(invalid_value(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    if isinstance(kind, str) and kind:
        for why in names.dns1035_label(kind.lower()):
            text_ = f"may have mixed case, but should otherwise match: {why}"
            found.append(invalid_value(f"{at}.kind", kind, text_))
    if "metadata" in value:
        found += metadata_errors(value["metadata"], f"{at}.metadata")
    return found


def metadata_errors(value: Any, at: str) -> list[FieldError]:
    try:
        meta: ObjectMeta = from_builtins(ObjectMeta, value)
    except msgspec.ValidationError as error:
        return [invalid_value(at, value, str(error))]
    named = msgspec.structs.replace(meta, name=meta.name or NAMELESS)
    return list(validate_metadata(named, bool(meta.namespace), names.path_segment, at, own_finalizers=True))
