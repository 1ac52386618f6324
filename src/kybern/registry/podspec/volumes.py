"""Volumes of a pod: a name and exactly one source, complete and without a way out of the pod's own folder."""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import Volume
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, required
from kybern.api.meta_v1 import ObjectMeta
from kybern.registry.checks import named, one_of
from kybern.registry.drivers import (
    COMMON,
    PORTAL_TOO_LONG,
    Check,
    needs,
    portal_too_long,
    validate_driver_name,
    validate_git_repo,
    validate_iscsi,
    validate_one_source,
)
from kybern.registry.metadata import validate_annotations, validate_labels
from kybern.registry.persistentvolumeclaims import validate_claim_spec
from kybern.registry.podspec.projected import (
    validate_downward_files,
    validate_items,
    validate_mode,
    validate_projected,
)

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
TEMPLATE_FIELDS = ("labels", "annotations")
NOT_TWICE = "must not reference a PVC that gets created for an ephemeral volume"

Volumes = Mapping[str, Volume]


def validate_volumes(volumes: tuple[Volume, ...], at: str, found: dict[str, Volume], pod: str) -> Iterator[FieldError]:
    """`found` gets those with nothing wrong, which containers may mount. `pod`: its name; empty, a template's."""
    made = {f"{pod}-{volume.name}" for volume in volumes if pod and volume.ephemeral is not None}
    for index, volume in enumerate(volumes):
        here = f"{at}[{index}]"
        wrong = [*validate_volume(volume, here, pod), *named(f"{here}.name", volume.name, names.dns1123_label)]
        if volume.name in found:
            wrong.append(duplicate(f"{here}.name", volume.name))
        if wrong:
            yield from wrong
        else:
            found[volume.name] = volume
        claim = volume.persistent_volume_claim
        if claim is not None and claim.claim_name in made:
            yield invalid_value(f"{here}.persistentVolumeClaim.claimName", claim.claim_name, NOT_TWICE)


def validate_volume(volume: Volume, at: str, pod: str) -> Iterator[FieldError]:
    yield from validate_one_source(volume, SOURCES, at)
    if volume.iscsi is not None and portal_too_long(volume.iscsi, volume.name):
        yield invalid_value(f"{at}.name", volume.name, PORTAL_TOO_LONG)
    if pod and volume.ephemeral is not None and volume.name:
        claim = f"{pod}-{volume.name}"
        for wrong in names.dns1123_subdomain(claim):
            yield invalid_value(f"{at}.name", volume.name, f'PVC name "{claim}": {wrong}')
    if pod and volume.image is not None and not volume.image.reference:
        yield required(f"{at}.image.reference")


def validate_empty_dir(source: Any, at: str) -> Iterator[FieldError]:
    if source.size_limit is not None and source.size_limit.startswith("-"):
        yield forbidden_field(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def files_of(field: str, attribute: str) -> Check:
    """A volume of a Secret's or a ConfigMap's keys."""

    def check(source: Any, at: str) -> Iterator[FieldError]:
        if not getattr(source, attribute):
            yield required(f"{at}.{field}")
        yield from validate_mode(source.default_mode, f"{at}.defaultMode")
        yield from validate_items(source, at)

    return check


def validate_downward_api(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_mode(source.default_mode, f"{at}.defaultMode")
    yield from validate_downward_files(source, at)


def validate_csi(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_driver_name(source.driver, f"{at}.driver")
    ref = source.node_publish_secret_ref
    if ref is not None:
        if not ref.name:
            yield required(f"{at}.nodePublishSecretRef.name")
        else:
            for wrong in names.dns1123_subdomain(ref.name):
                yield invalid_value(f"{at}.name", ref.name, wrong)


def validate_ephemeral(source: Any, at: str) -> Iterator[FieldError]:
    template = source.volume_claim_template
    if template is None:
        yield required(f"{at}.volumeClaimTemplate")
        return
    here = f"{at}.volumeClaimTemplate"
    if template.metadata is not None:
        yield from validate_template_metadata(template.metadata, f"{here}.metadata")
    yield from validate_claim_spec(template.spec, f"{here}.spec")


def validate_template_metadata(meta: ObjectMeta, at: str) -> Iterator[FieldError]:
    """Labels and annotations are passed on; whatever else is said would be lost."""
    yield from validate_annotations(meta.annotations or {}, f"{at}.annotations")
    yield from validate_labels(meta.labels or {}, f"{at}.labels")
    for name, field in zip(ObjectMeta.__struct_fields__, ObjectMeta.__struct_encode_fields__, strict=True):
        if name not in TEMPLATE_FIELDS and getattr(meta, name):
            yield forbidden_field(f"{at}.{field}", "cannot be set")


def validate_image(source: Any, at: str) -> Iterator[FieldError]:
    yield from one_of(f"{at}.pullPolicy", source.pull_policy, PULL_POLICIES)


SOURCES: tuple[tuple[str, str, Check], ...] = (
    ("emptyDir", "empty_dir", validate_empty_dir),
    ("gitRepo", "git_repo", validate_git_repo),
    ("secret", "secret", files_of("secretName", "secret_name")),
    ("configMap", "config_map", files_of("name", "name")),
    ("persistentVolumeClaim", "persistent_volume_claim", needs("claimName")),
    ("downwardAPI", "downward_api", validate_downward_api),
    ("projected", "projected", validate_projected),
    ("iscsi", "iscsi", validate_iscsi),
    *COMMON,
    ("csi", "csi", validate_csi),
    ("ephemeral", "ephemeral", validate_ephemeral),
    ("image", "image", validate_image),
)
