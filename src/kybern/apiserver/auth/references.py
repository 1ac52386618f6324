"""What a pod makes its node need to read: the objects that its spec names, and nothing else."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kybern.api.core_v1 import (
    EnvFromSource,
    EnvVar,
    LocalObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodSpec,
    Volume,
)
from kybern.apiserver.request import Objects

Reference = tuple[str, str, str]
"""(plural, namespace, name)."""


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


class NamingMeta(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""


class NamingPod(msgspec.Struct, frozen=True, gc=False):
    """The part of a Pod that names other objects."""

    metadata: NamingMeta = NamingMeta()
    spec: NamingSpec = NamingSpec()


def references(pod: Pod | NamingPod) -> Iterator[Reference]:
    namespace, spec = pod.metadata.namespace or "", pod.spec
    for plural, name in names_in(spec):
        if name:
            yield plural, namespace, name
    for volume in spec.volumes or ():
        if volume.ephemeral:
            yield "persistentvolumeclaims", namespace, f"{pod.metadata.name}-{volume.name}"


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
    if volume.csi and volume.csi.node_publish_secret_ref:
        yield "secrets", volume.csi.node_publish_secret_ref.name
    for source in (volume.projected.sources if volume.projected else None) or ():
        if source.config_map:
            yield "configmaps", source.config_map.name
        if source.secret:
            yield "secrets", source.secret.name


@dataclass(slots=True)
class NodeReferences:
    """Which objects the pods of each node name, kept current. Being told of a pod twice does no harm."""

    pods: dict[tuple[str, str], tuple[str, tuple[Reference, ...]]] = field(default_factory=dict)
    """Namespace and name of a pod → its node, and what it names."""
    counts: dict[str, Counter[Reference]] = field(default_factory=dict)

    def pod_changed(self, old: Pod | NamingPod | None, new: Pod | NamingPod | None) -> None:
        pod = new or old
        if pod is None:
            return
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        node, named = self.pods.pop(key, ("", ()))
        if node:
            self.counts[node].subtract(named)
            self.counts[node] = +self.counts[node]
        if new and new.spec.node_name:
            self.pods[key] = (new.spec.node_name, tuple(references(new)))
            self.counts.setdefault(new.spec.node_name, Counter()).update(self.pods[key][1])

    def node_of(self, namespace: str, name: str) -> str | None:
        """The node of this pod; None where no pod of that name is bound."""
        found = self.pods.get((namespace, name))
        return found[0] if found else None

    def holds(self, node: str, reference: Reference) -> bool:
        return self.counts.get(node, Counter())[reference] > 0


def following_pods(objects: Objects) -> NodeReferences:
    found = NodeReferences()
    objects.on_change(Pod, found.pod_changed, part=NamingPod)
    for pod in objects.list(Pod):
        found.pod_changed(None, pod)
    return found


def claims_of_volume(objects: Objects, name: str) -> Reference | None:
    """The claim that a PersistentVolume is bound to."""
    volume = objects.get(PersistentVolume, name)
    claim = volume.spec.claim_ref if volume else None
    if claim is None or objects.get(PersistentVolumeClaim, claim.name or "", claim.namespace or "") is None:
        return None
    return ("persistentvolumeclaims", claim.namespace or "", claim.name or "")
