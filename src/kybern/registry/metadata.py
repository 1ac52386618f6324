"""ObjectMeta: the rules that hold for every object, whatever its kind.

- A name, or a prefix to make one from; a namespace exactly where the kind has them.
- Labels and annotations that selectors and stores can rely on, owners that can be found, finalizers that can be told apart.
- Identity never changes: name, namespace, uid, creation; and what is being deleted stays so.

What the server fills in (uid, times, a generated name) is there before these rules are asked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from kybern.api import names
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, required, too_long
from kybern.api.meta_v1 import ManagedFieldsEntry, ObjectMeta, OwnerReference

NameRule = Callable[[str], Iterable[str]]

ANNOTATIONS_BYTES_MAX = 256 * 1024
STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
IMMUTABLE = "field is immutable"
NEVER_OWNERS = {("v1", "Event")}


def validate_metadata(
    meta: ObjectMeta,
    namespaced: bool,
    name_rule: NameRule | None = None,
    at: str = "metadata",
    *,
    own_finalizers: bool = False,
) -> Iterator[FieldError]:
    """`own_finalizers`: of custom objects; theirs need not name a domain."""
    rule = name_rule or names.dns1123_subdomain
    if meta.generate_name:
        for wrong in rule(completed(meta.generate_name)):
            yield invalid_value(f"{at}.generateName", meta.generate_name, wrong)
    if not meta.name:
        yield required(f"{at}.name", "name or generateName is required")
    else:
        for wrong in rule(meta.name):
            yield invalid_value(f"{at}.name", meta.name, wrong)
    if namespaced:
        if not meta.namespace:
            yield required(f"{at}.namespace")
        else:
            for wrong in names.dns1123_label(meta.namespace):
                yield invalid_value(f"{at}.namespace", meta.namespace, wrong)
    elif meta.namespace:
        yield forbidden_field(f"{at}.namespace", "not allowed on this type")
    if (meta.generation or 0) < 0:
        yield invalid_value(f"{at}.generation", meta.generation, "must be greater than or equal to 0")
    yield from validate_changeable(meta, at)
    if meta.finalizers:
        yield from validate_finalizers(meta.finalizers, f"{at}.finalizers", own_finalizers)


def completed(prefix: str) -> str:
    """A prefix ends with a dash as a rule, which no name may: judge it as if the random part were there."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def validate_metadata_update(
    new: ObjectMeta, old: ObjectMeta, at: str = "metadata", *, own_finalizers: bool = False
) -> Iterator[FieldError]:
    if old.deletion_timestamp and new.finalizers:
        added = sorted(set(new.finalizers) - set(old.finalizers or ()))
        if added:
            listed = "[]string{" + ", ".join(f'"{name}"' for name in added) + "}"
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {listed}"
            yield forbidden_field(f"{at}.finalizers", why)
    if new.generation is not None and new.generation < (old.generation or 0):
        yield invalid_value(f"{at}.generation", new.generation, "must not be decremented")
    if new.name != old.name:
        yield invalid_value(f"{at}.name", new.name or "", IMMUTABLE)
    if (new.namespace or "") != (old.namespace or ""):
        yield invalid_value(f"{at}.namespace", new.namespace or "", IMMUTABLE)
    yield from validate_set_once(new, old, at)
    yield from validate_changeable(new, at)
    if new.finalizers and new.finalizers != old.finalizers:
        yield from validate_finalizers(new.finalizers, f"{at}.finalizers", own_finalizers)


def validate_set_once(new: ObjectMeta, old: ObjectMeta, at: str) -> Iterator[FieldError]:
    """What the server sets: leaving it out means keeping it."""
    for field, sent, kept in (
        ("uid", new.uid, old.uid),
        ("creationTimestamp", new.creation_timestamp, old.creation_timestamp),
        ("deletionTimestamp", new.deletion_timestamp, old.deletion_timestamp),
        ("deletionGracePeriodSeconds", new.deletion_grace_period_seconds, old.deletion_grace_period_seconds),
    ):
        if sent and sent != kept:
            yield invalid_value(f"{at}.{field}", sent, IMMUTABLE)


def validate_changeable(meta: ObjectMeta, at: str) -> Iterator[FieldError]:
    if meta.labels:
        yield from validate_labels(meta.labels, f"{at}.labels")
    if meta.annotations:
        yield from validate_annotations(meta.annotations, f"{at}.annotations")
    if meta.owner_references:
        yield from validate_owners(meta.owner_references, f"{at}.ownerReferences")
    if meta.managed_fields:
        yield from validate_managed_fields(meta.managed_fields, f"{at}.managedFields")


def validate_labels(labels: Mapping[str, str], at: str) -> Iterator[FieldError]:
    for key, value in labels.items():
        for wrong in names.qualified_name(key):
            yield invalid_value(at, key, wrong)
        for wrong in names.label_value(value):
            yield invalid_value(at, value, wrong)


def validate_annotations(annotations: Mapping[str, str], at: str) -> Iterator[FieldError]:
    size = 0
    for key, value in annotations.items():
        for wrong in names.qualified_name(key.lower()):
            yield invalid_value(at, key, wrong)
        size += bytes_of(key) + bytes_of(value)
    if size > ANNOTATIONS_BYTES_MAX:
        yield too_long(at, "", ANNOTATIONS_BYTES_MAX)


def bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def validate_owners(owners: tuple[OwnerReference, ...], at: str) -> Iterator[FieldError]:
    controller = ""
    for owner in owners:
        if not owner.api_version or owner.api_version.endswith("/"):
            yield invalid_value(f"{at}.apiVersion", owner.api_version, "version must not be empty")
        for field, value in (("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)):
            if not value:
                yield invalid_value(f"{at}.{field}", value, "must not be empty")
        if (owner.api_version, owner.kind) in NEVER_OWNERS:
            yield invalid_value(at, owner, f"/v1, Kind={owner.kind} is disallowed from being an owner")
        if not owner.controller:
            continue
        if controller:
            found = f'Found "true" in references for {controller} and {owner.name}'
            yield invalid_value(at, owners, f"Only one reference can have Controller set to true. {found}")
        controller = controller or owner.name


def validate_finalizers(finalizers: tuple[str, ...], at: str, own_finalizers: bool = False) -> Iterator[FieldError]:
    for finalizer in finalizers:
        for wrong in names.qualified_name(finalizer):
            yield invalid_value(at, finalizer, wrong)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        yield invalid_value(at, finalizers, "finalizer orphan and foregroundDeletion cannot be both set")
    for index, finalizer in enumerate(() if own_finalizers else finalizers):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"{at}[{index}]", finalizer, why)


def validate_managed_fields(entries: tuple[ManagedFieldsEntry, ...], at: str) -> Iterator[FieldError]:
    for index, entry in enumerate(entries):
        if entry.operation not in ("Apply", "Update"):
            yield invalid_value(f"{at}[{index}].operation", entry.operation or "", "must be `Apply` or `Update`")
        if entry.fields_type and entry.fields_type != "FieldsV1":
            yield invalid_value(f"{at}[{index}].fieldsType", entry.fields_type, "must be `FieldsV1`")
