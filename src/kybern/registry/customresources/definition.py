"""customresourcedefinitions: the rules for the definitions themselves."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.apiextensions_v1 import (
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec,
)
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required
from kybern.registry.checks import immutable, judged, named
from kybern.registry.columns import CREATED_AT, NAME
from kybern.registry.customresources.conditions import find, with_condition
from kybern.registry.customresources.structural import validate_schema
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Resource

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that holds a definition until its objects are gone."""

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
    if not spec.group:
        yield required("spec.group")
    else:
        yield from judged("spec.group", spec.group, names.dns1123_subdomain)
        if "." not in spec.group:
            yield invalid_value("spec.group", spec.group, "should be a domain with at least one dot")
    if not spec.scope:
        yield required("spec.scope")
    elif spec.scope not in ("Cluster", "Namespaced"):
        yield not_supported("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    if spec.preserve_unknown_fields:
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid_value("spec.preserveUnknownFields", True, why)
    yield from validate_versions(spec)
    yield from validate_names(spec.names, "spec.names")
    if spec.conversion is not None and spec.conversion.strategy not in ("None", "Webhook"):
        yield not_supported("spec.conversion.strategy", spec.conversion.strategy, ("None", "Webhook"))


def validate_versions(spec: CustomResourceDefinitionSpec) -> Iterator[FieldError]:
    if not spec.versions:
        yield required("spec.versions", "must have at least one version")
    seen: set[str] = set()
    for index, version in enumerate(spec.versions):
        at = f"spec.versions[{index}]"
        yield from judged(f"{at}.name", version.name, names.dns1035_label)
        if version.name in seen:
            yield duplicate(f"{at}.name", version.name)
        seen.add(version.name)
        schema = version.schema.open_apiv3_schema if version.schema is not None else None
        if schema is None:
            yield required(f"{at}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from validate_schema(schema, f"{at}.schema.openAPIV3Schema")
        scale = version.subresources.scale if version.subresources is not None else None
        if scale is not None:
            for field, path in (
                ("specReplicasPath", scale.spec_replicas_path), ("statusReplicasPath", scale.status_replicas_path),
            ):  # fmt: skip
                if not path:
                    yield required(f"{at}.subresources.scale.{field}")
    if sum(version.storage for version in spec.versions) != 1:
        yield invalid_value("spec.versions", spec.versions, "must have exactly one version marked as storage version")


def validate_names(found: CustomResourceDefinitionNames, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.plural", found.plural, names.dns1035_label)
    yield from judged(f"{at}.singular", found.singular, names.dns1035_label)
    for field, kind in (("kind", found.kind), ("listKind", found.list_kind)):
        if not kind:
            yield required(f"{at}.{field}")
            continue
        for wrong in names.dns1035_label(kind.lower()):
            yield invalid_value(f"{at}.{field}", kind, f"may have mixed case, but should otherwise match: {wrong}")
    if found.kind and found.kind == found.list_kind:
        yield invalid_value(f"{at}.listKind", found.list_kind, "kind and listKind may not be the same")
    for index, short in enumerate(found.short_names or ()):
        yield from judged(f"{at}.shortNames[{index}]", short, names.dns1035_label)
    for index, category in enumerate(found.categories or ()):
        yield from judged(f"{at}.categories[{index}]", category, names.dns1035_label)


def validate_definition_update(
    definition: CustomResourceDefinition, old: CustomResourceDefinition
) -> Iterator[FieldError]:
    yield from validate_definition(definition)
    if any(c.type == "Established" and c.status == "True" for c in old.status.conditions or ()):
        yield from immutable("spec.scope", definition.spec.scope, old.spec.scope)
        yield from immutable("spec.names.kind", definition.spec.names.kind, old.spec.names.kind)
    yield from immutable("spec.group", definition.spec.group, old.spec.group)
    yield from immutable("spec.names.plural", definition.spec.names.plural, old.spec.names.plural)
    known = {version.name for version in definition.spec.versions}
    for index, version in enumerate(definition.status.stored_versions or ()):
        if version not in known:
            why = "must appear in spec.versions"
            yield invalid_value(f"status.storedVersions[{index}]", version, why)


CUSTOM_RESOURCE_DEFINITIONS = Resource(
    kind=kind_of(CustomResourceDefinition),
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    storage_prefix="/registry/apiextensions.k8s.io/customresourcedefinitions",
    default=default_definition,
    on_create=on_create,
    on_update=on_update,
    validate=validate_definition,
    validate_update=validate_definition_update,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(NAME, CREATED_AT),
    on_delete=on_delete,
    held=is_held,
)
