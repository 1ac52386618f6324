"""Projected volumes: files of several kinds in one folder, each at a path of its own."""

from collections.abc import Iterator
from typing import Any

from kybern.api.core_v1 import (
    ClusterTrustBundleProjection,
    ConfigMapProjection,
    PodCertificateProjection,
    SecretProjection,
    ServiceAccountTokenProjection,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import label_selector, projected_path
from kybern.registry.drivers import Check
from kybern.registry.podspec.fields import VOLUME_FIELDS, validate_field_ref, validate_resource_ref
from kybern.registry.signers import bundle_name, is_own, signer_of_bundle, validate_signer

MODE_RANGE = "must be a number between 0 and 0777 (octal), both inclusive"
TOKEN_SECONDS_MIN = 600
TOKEN_SECONDS_MAX = 2**32
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
CERTIFICATE_SECONDS_MIN = 3600
CERTIFICATE_SECONDS_MAX = 91 * 24 * 3600
OWN_CERTIFICATE_SECONDS_MAX = 24 * 3600  # of upstream's own signers
DUPLICATE = "conflicting duplicate paths"


def validate_mode(mode: int | None, at: str) -> Iterator[FieldError]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid_value(at, mode, MODE_RANGE)


def validate_items(source: Any, at: str) -> Iterator[FieldError]:
    for index, item in enumerate(source.items or ()):
        here = f"{at}.items[{index}]"
        if not item.key:
            yield required(f"{here}.key")
        if not item.path:
            yield required(f"{here}.path")
        else:
            yield from projected_path(f"{here}.path", item.path)
        yield from validate_mode(item.mode, f"{here}.mode")


def validate_downward_files(source: Any, at: str) -> Iterator[FieldError]:
    """Upstream names the volume, not the file."""
    for file in source.items or ():
        if not file.path:
            yield required(f"{at}.path")
        yield from projected_path(f"{at}.path", file.path)
        if file.field_ref is not None:
            yield from validate_field_ref(file.field_ref, VOLUME_FIELDS, f"{at}.fieldRef")
            if file.resource_field_ref is not None:
                why = "fieldRef and resourceFieldRef can not be specified simultaneously"
                yield invalid_value(at, "resource", why)
        elif file.resource_field_ref is not None:
            yield from validate_resource_ref(file.resource_field_ref, f"{at}.resourceFieldRef", container_named=True)
        else:
            yield required(at, "one of fieldRef and resourceFieldRef is required")
        yield from validate_mode(file.mode, f"{at}.mode")


def validate_projected(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_mode(source.default_mode, f"{at}.defaultMode")
    taken: set[str] = set()
    for index, projection in enumerate(source.sources or ()):
        here = f"{at}.sources[{index}]"
        count = 0
        for field, name, check in PROJECTIONS:
            part = getattr(projection, name)
            if part is None:
                continue
            count += 1
            yield from check(part, f"{here}.{field}")
            yield from validate_paths(part, taken, at)
        if count > 1:
            yield forbidden_field(here, "may not specify more than 1 volume type per source")


def validate_paths(part: Any, taken: set[str], at: str) -> Iterator[FieldError]:
    """No two files at one path of the volume, where upstream looks: a token's may be taken."""
    if isinstance(part, ServiceAccountTokenProjection):
        if not part.path:
            yield required(f"{at}.path")
        else:
            yield from projected_path(f"{at}.path", part.path)
        return
    for path in paths_of(part):
        if path in taken:
            named = isinstance(part, SecretProjection | ConfigMapProjection)
            yield invalid_value(at, part.name if named else path, DUPLICATE)
        taken.add(path)


def paths_of(part: Any) -> list[str]:
    if hasattr(part, "items"):
        return [item.path for item in part.items or () if item.path]
    fields = ("path", "credential_bundle_path", "key_path", "certificate_chain_path")
    return [path for field in fields if (path := getattr(part, field, None))]


def validate_named_files(part: Any, at: str) -> Iterator[FieldError]:
    if not part.name:
        yield required(f"{at}.name")
    yield from validate_items(part, at)


def validate_token(part: ServiceAccountTokenProjection, at: str) -> Iterator[FieldError]:
    seconds = part.expiration_seconds or 0
    if seconds < TOKEN_SECONDS_MIN:
        yield invalid_value(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > TOKEN_SECONDS_MAX:
        yield invalid_value(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def validate_trust_bundle(part: ClusterTrustBundleProjection, at: str) -> Iterator[FieldError]:
    if part.name is not None and part.signer_name is not None:
        yield invalid_value(at, part, "only one of name and signerName may be used")
    elif part.name is not None:
        if not part.name:
            yield required(f"{at}.name", "must be a valid object name")
        for wrong in bundle_name(part.name, signer_of_bundle(part.name)):
            yield invalid_value(f"{at}.name", part.name, f"not a valid clustertrustbundlename: {wrong}")
        if part.label_selector is not None:
            why = "labelSelector must be unset if name is specified"
            yield invalid_value(f"{at}.labelSelector", part.label_selector, why)
    elif part.signer_name is not None:
        if not part.signer_name:
            yield required(f"{at}.signerName", "must be a valid signer name")
        yield from validate_signer(part.signer_name, f"{at}.signerName")
        yield from label_selector(part.label_selector, f"{at}.labelSelector")
    else:
        yield required(at, "either name or signerName must be specified")
    if not part.path:
        yield required(f"{at}.path")
    yield from projected_path(f"{at}.path", part.path)


def validate_pod_certificate(part: PodCertificateProjection, at: str) -> Iterator[FieldError]:
    yield from validate_signer(part.signer_name, f"{at}.signerName")
    if part.key_type not in KEY_TYPES:
        yield not_supported(f"{at}.keyType", part.key_type, KEY_TYPES)
    seconds = part.max_expiration_seconds
    if seconds is not None:
        longest = OWN_CERTIFICATE_SECONDS_MAX if is_own(part.signer_name) else CERTIFICATE_SECONDS_MAX
        if seconds < CERTIFICATE_SECONDS_MIN:
            why = f"if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MIN}"
            yield invalid_value(f"{at}.maxExpirationSeconds", seconds, why)
        elif seconds > longest:
            why = f"if provided, maxExpirationSeconds must be <= {longest}"
            yield invalid_value(f"{at}.maxExpirationSeconds", seconds, why)
    paths = (
        ("credentialBundlePath", part.credential_bundle_path), ("keyPath", part.key_path),
        ("certificateChainPath", part.certificate_chain_path),
    )  # fmt: skip
    if not any(path for _, path in paths):
        why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        yield required(at, why)
    for field, path in paths:
        yield from projected_path(f"{at}.{field}", path or "")


PROJECTIONS: tuple[tuple[str, str, Check], ...] = (
    ("secret", "secret", validate_named_files),
    ("configMap", "config_map", validate_named_files),
    ("downwardAPI", "downward_api", validate_downward_files),
    ("serviceAccountToken", "service_account_token", validate_token),
    ("clusterTrustBundle", "cluster_trust_bundle", validate_trust_bundle),
    ("podCertificate", "pod_certificate", validate_pod_certificate),
)
