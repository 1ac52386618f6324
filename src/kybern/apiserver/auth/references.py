"""What a pod makes its node need to read: the objects that it names, and nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kybern.api.core_v1 import (
    EnvFromSource,
    EnvVar,
    LocalObjectReference,
    PersistentVolume,
    PersistentVolumeSpec,
    Pod,
    PodExtendedResourceClaimStatus,
    PodResourceClaim,
    PodResourceClaimStatus,
    PodSpec,
    SecretReference,
    Volume,
)

Reference = tuple[str, str, str]
"""(plural, namespace, name)."""

MIRROR = "kubernetes.io/config.mirror"
KINDS_WITH_SECRET = ("cephfs", "cinder", "flex_volume", "iscsi", "rbd", "scale_io", "storageos")
CSI_USES = ("node_expand_secret_ref", "node_publish_secret_ref", "node_stage_secret_ref")


class NamingContainer(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFromSource, ...] | None = None


class NamingSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_name: str | None = None
    service_account_name: str | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] | None = None
    init_containers: tuple[NamingContainer, ...] | None = None
    containers: tuple[NamingContainer, ...] = ()
    ephemeral_containers: tuple[NamingContainer, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    resource_claims: tuple[PodResourceClaim, ...] | None = None


class NamingStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    resource_claim_statuses: tuple[PodResourceClaimStatus, ...] | None = None
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None


class NamingMeta(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""
    annotations: Mapping[str, str] | None = None


class NamingPod(msgspec.Struct, frozen=True, gc=False):
    """The part of a Pod that names other objects."""

    metadata: NamingMeta = NamingMeta()
    spec: NamingSpec = NamingSpec()
    status: NamingStatus = NamingStatus()


def references(pod: Pod | NamingPod) -> Iterator[Reference]:
    """A mirror pod names nothing: a node makes it itself, and would give itself rights by it."""
    if MIRROR in (pod.metadata.annotations or {}):
        return
    namespace, spec = pod.metadata.namespace or "", pod.spec
    for plural, name in (*names_in(spec), *claims_in(pod)):
        if name:
            yield plural, namespace, name
    for volume in spec.volumes or ():
        if volume.ephemeral:
            yield "persistentvolumeclaims", namespace, f"{pod.metadata.name}-{volume.name}"


def claims_in(pod: Pod | NamingPod) -> Iterator[tuple[str, str | None]]:
    """Its ResourceClaims: named by itself, or made for it and then told in its status."""
    made = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
    for claim in pod.spec.resource_claims or ():
        yield "resourceclaims", claim.resource_claim_name or made.get(claim.name)
    if pod.status.extended_resource_claim_status:
        yield "resourceclaims", pod.status.extended_resource_claim_status.resource_claim_name


def names_in(spec: PodSpec | NamingSpec) -> Iterator[tuple[str, str | None]]:
    yield "serviceaccounts", spec.service_account_name
    for secret in spec.image_pull_secrets or ():
        yield "secrets", secret.name
    containers: list[Any] = [*(spec.init_containers or ()), *spec.containers]
    for container in (*containers, *(spec.ephemeral_containers or ())):
        yield from names_in_environment(container)
    for volume in spec.volumes or ():
        yield from names_in_volume(volume)


def names_in_environment(container: Any) -> Iterator[tuple[str, str | None]]:
    for source in container.env_from or ():
        if source.config_map_ref:
            yield "configmaps", source.config_map_ref.name
        if source.secret_ref:
            yield "secrets", source.secret_ref.name
    for variable in container.env or ():
        if variable.value_from and variable.value_from.config_map_key_ref:
            yield "configmaps", variable.value_from.config_map_key_ref.name
        if variable.value_from and variable.value_from.secret_key_ref:
            yield "secrets", variable.value_from.secret_key_ref.name


def names_in_volume(volume: Volume) -> Iterator[tuple[str, str | None]]:
    if volume.config_map:
        yield "configmaps", volume.config_map.name
    if volume.secret:
        yield "secrets", volume.secret.secret_name
    if volume.persistent_volume_claim:
        yield "persistentvolumeclaims", volume.persistent_volume_claim.claim_name
    for secret in secrets_of(volume):
        yield "secrets", secret.name
    for source in (volume.projected.sources if volume.projected else None) or ():
        if source.config_map:
            yield "configmaps", source.config_map.name
        if source.secret:
            yield "secrets", source.secret.name


def secrets_of(source: Volume | PersistentVolumeSpec) -> Iterator[Any]:
    """What a kubelet mounts this storage with."""
    if source.azure_file:
        namespace = getattr(source.azure_file, "secret_namespace", None)
        yield SecretReference(name=source.azure_file.secret_name, namespace=namespace)
    for kind in KINDS_WITH_SECRET:
        found = getattr(source, kind)
        if found and found.secret_ref:
            yield found.secret_ref
    for use in CSI_USES if source.csi else ():
        reference = getattr(source.csi, use, None)
        if reference:
            yield reference


def claim_of(volume: PersistentVolume) -> Reference | None:
    """The claim that a volume is bound to."""
    claim = volume.spec.claim_ref
    return ("persistentvolumeclaims", claim.namespace or "", claim.name or "") if claim else None
