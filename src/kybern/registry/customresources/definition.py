"""customresourcedefinitions: the rules for the definitions themselves."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.apiextensions_v1 import (
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
)
from kybern.api.codec import encode
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, required, too_many
from kybern.registry.checks import immutable, judged, one_of, repeated
from kybern.registry.customresources.conditions import APPROVAL, approval_of, find, is_true, with_condition
from kybern.registry.customresources.unusual import warnings
from kybern.registry.customresources.version import validate_version
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import LARGE_BYTES, Resource
from kybern.registry.webhookclients import validate_client

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a definition until its objects are gone."""

VERSIONS_MAX = 32  # each object is kept in each of them

MARKED = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
NO_CONVERSION = CustomResourceConversion(strategy="None")


def default_definition(definition: CustomResourceDefinition) -> CustomResourceDefinition:
    return part(definition, "spec", default_spec)


def default_spec(spec: CustomResourceDefinitionSpec) -> CustomResourceDefinitionSpec:
    spec = part(spec, "names", default_names)
    if spec.conversion is None:
        return changed(spec, conversion=NO_CONVERSION)
    return part(spec, "conversion", default_conversion)


def default_names(found: CustomResourceDefinitionNames) -> CustomResourceDefinitionNames:
    if not found.kind:
        return found
    return filled(found, singular=found.kind.lower(), list_kind=f"{found.kind}List")


def default_conversion(conversion: CustomResourceConversion) -> CustomResourceConversion:
    webhook = conversion.webhook
    if webhook is None or webhook.client_config is None or webhook.client_config.service is None:
        return conversion
    client = part(webhook.client_config, "service", lambda service: filled(service, port=443))
    return changed(conversion, webhook=changed(webhook, client_config=client))


def on_create(definition: CustomResourceDefinition) -> CustomResourceDefinition:
    return with_stored_version(clear_status(definition))


def on_update(definition: CustomResourceDefinition, old: CustomResourceDefinition) -> CustomResourceDefinition:
    return with_stored_version(keep_status(definition, old))


def with_stored_version(definition: CustomResourceDefinition) -> CustomResourceDefinition:
    """Every version that was ever stored stays listed, until an administrator has migrated it away."""
    stored = definition.status.stored_versions or ()
    added = [v.name for v in definition.spec.versions if v.storage and v.name not in stored]
    if not added:
        return definition
    return changed(definition, status=changed(definition.status, stored_versions=(*stored, *added)))


def on_delete(definition: CustomResourceDefinition) -> CustomResourceDefinition:
    """What is asked to go for the first time is held until its objects are gone; asking again adds nothing."""
    conditions = definition.status.conditions or ()
    if find(conditions, "Terminating") is not None:
        return definition
    now = definition.metadata.deletion_timestamp or ""
    said = with_condition(conditions, "Terminating", "True", "InstanceDeletionPending", MARKED, now=now)
    held = changed(definition.metadata, finalizers=(*(definition.metadata.finalizers or ()), CLEANUP))
    return changed(definition, metadata=held, status=changed(definition.status, conditions=said))


def is_held(definition: CustomResourceDefinition) -> bool:
    """Nothing is deleted at once: `on_delete` has the finalizer put on first."""
    return definition.metadata.deletion_timestamp is None


def validate_definition(definition: CustomResourceDefinition) -> Iterator[FieldError]:
    spec = definition.spec
    if definition.metadata.name != f"{spec.names.plural}.{spec.group}":
        yield invalid_value("metadata.name", definition.metadata.name, 'must be spec.names.plural+"."+spec.group')
    yield from validate_spec(definition)
    yield from validate_stored_versions(definition)
    yield from validate_approval(definition, None)
    yield from validate_preserving(definition, None)


def validate_definition_update(
    definition: CustomResourceDefinition, old: CustomResourceDefinition
) -> Iterator[FieldError]:
    yield from validate_spec(definition, old)
    if is_true(old, "Established"):  # these name the place in the store
        yield from immutable("spec.scope", definition.spec.scope, old.spec.scope)
        yield from immutable("spec.names.kind", definition.spec.names.kind, old.spec.names.kind)
    yield from immutable("spec.group", definition.spec.group, old.spec.group)
    yield from immutable("spec.names.plural", definition.spec.names.plural, old.spec.names.plural)
    yield from validate_stored_versions(definition)
    yield from validate_approval(definition, old)
    yield from validate_preserving(definition, old)


def validate_preserving(
    definition: CustomResourceDefinition, old: CustomResourceDefinition | None
) -> Iterator[FieldError]:
    """What is stored so may stay so."""
    if definition.spec.preserve_unknown_fields and not (old is not None and old.spec.preserve_unknown_fields):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid_value("spec.preserveUnknownFields", True, why)


def validate_spec(
    definition: CustomResourceDefinition, old: CustomResourceDefinition | None = None
) -> Iterator[FieldError]:
    spec = definition.spec
    if not spec.group:
        yield required("spec.group")
    else:
        yield from judged("spec.group", spec.group, names.dns1123_subdomain)
        if "." not in spec.group:
            yield invalid_value("spec.group", spec.group, "should be a domain with at least one dot")
    yield from one_of("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    yield from validate_versions(definition, old)
    for field, name in (
        ("plural", spec.names.plural), ("singular", spec.names.singular), ("kind", spec.names.kind),
        ("listKind", spec.names.list_kind),
    ):  # fmt: skip
        if not name:
            yield required(f"spec.names.{field}")
    yield from validate_names(spec.names, "spec.names")
    if spec.conversion is not None:
        yield from validate_conversion(spec.conversion, "spec.conversion")


def validate_versions(
    definition: CustomResourceDefinition, old: CustomResourceDefinition | None
) -> Iterator[FieldError]:
    versions = definition.spec.versions
    if len(versions) > VERSIONS_MAX:
        yield too_many("spec.versions", len(versions), VERSIONS_MAX)
        return
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        if version.schema is None or version.schema.open_apiv3_schema is None:
            yield required(f"{at}.schema.openAPIV3Schema")
        yield from judged(f"{at}.name", version.name, names.dns1035_label)
        before = old and next((one for one in old.spec.versions if one.name == version.name), None)
        yield from validate_version(version, before or None, at)
    named = [version.name for version in versions]
    if len(set(named)) < len(named):
        yield invalid_value("spec.versions", versions, "must contain unique version names")
    if sum(version.storage for version in versions) != 1:
        yield invalid_value("spec.versions", versions, "must have exactly one version marked as storage version")


def validate_stored_versions(definition: CustomResourceDefinition) -> Iterator[FieldError]:
    stored = definition.status.stored_versions or ()
    known = {version.name for version in definition.spec.versions}
    for index, name in enumerate(stored):
        if name not in known:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
                f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
                "status.storedVersions"
            )
            yield invalid_value(f"status.storedVersions[{index}]", name, why)


def validate_approval(
    definition: CustomResourceDefinition, old: CustomResourceDefinition | None
) -> Iterator[FieldError]:
    """A group of Kubernetes' own needs somebody's approval, or that its author says it has none."""
    approval = approval_of(definition)
    if approval is None or (old is not None and approval_of(old) == approval):
        return
    at = f"metadata.annotations[{APPROVAL}]"
    if approval[1] == "MissingAnnotation":
        yield required(at, approval[2])
    elif approval[1] == "InvalidAnnotation":
        yield invalid_value(at, (definition.metadata.annotations or {}).get(APPROVAL), approval[2])


def validate_names(found: CustomResourceDefinitionNames, at: str) -> Iterator[FieldError]:
    yield from judged(f"{at}.plural", found.plural, names.dns1035_label)
    yield from judged(f"{at}.singular", found.singular, names.dns1035_label)
    for field, kind in (("kind", found.kind), ("listKind", found.list_kind)):
        for wrong in names.dns1035_label(kind.lower()) if kind else ():
            yield invalid_value(f"{at}.{field}", kind, f"may have mixed case, but should otherwise match: {wrong}")
    for index, short in enumerate(found.short_names or ()):
        yield from judged(f"{at}.shortNames[{index}]", short, names.dns1035_label)
    if found.kind and found.kind == found.list_kind:
        yield invalid_value(f"{at}.listKind", found.list_kind, "kind and listKind may not be the same")
    for index, category in enumerate(found.categories or ()):
        yield from judged(f"{at}.categories[{index}]", category, names.dns1035_label)


def validate_conversion(conversion: CustomResourceConversion, at: str) -> Iterator[FieldError]:
    yield from one_of(f"{at}.strategy", conversion.strategy, ("None", "Webhook"))
    webhook = conversion.webhook
    if conversion.strategy != "Webhook":
        if webhook is not None:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden_field(f"{at}.webhookClientConfig", why)
        return
    if webhook is None or webhook.client_config is None:
        yield required(f"{at}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        yield from validate_client(webhook.client_config, f"{at}.webhookClientConfig")
    reviews = webhook.conversion_review_versions if webhook is not None else ()
    if not reviews:
        yield required(f"{at}.conversionReviewVersions")
    again = repeated(reviews)
    for index, name in enumerate(reviews):
        if index in again:
            yield invalid_value(f"{at}.conversionReviewVersions[{index}]", name, "duplicate version")
        yield from judged(f"{at}.conversionReviewVersions[{index}]", name, names.dns1035_label)
    if reviews and not set(reviews) & {"v1", "v1beta1"}:
        yield invalid_value(f"{at}.conversionReviewVersions", reviews, "must include at least one of v1, v1beta1")


def takes_long(definition: CustomResourceDefinition) -> bool:
    """The first that has expressions loads their engine."""
    body = encode(definition)
    return len(body) > LARGE_BYTES or b'"x-kubernetes-validations":' in body


CUSTOM_RESOURCE_DEFINITIONS = Resource(
    kind=kind_of(CustomResourceDefinition),
    version_needed=True,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    storage_prefix="/registry/apiextensions.k8s.io/customresourcedefinitions",
    default=default_definition,
    on_create=on_create,
    on_update=on_update,
    validate=validate_definition,
    validate_update=validate_definition_update,
    warnings=warnings,
    validates_long=takes_long,
    generation=spec_of,
    subresources=(status("all"),),
    on_delete=on_delete,
    held=is_held,
)
