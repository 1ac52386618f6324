"""Which objects are related to which node, kept current: what its pods name, and the Secrets of volumes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kybern.api.core_v1 import PersistentVolume, Pod
from kybern.apiserver.auth.references import NamingPod, Reference, claim_of, references, secrets_of
from kybern.apiserver.request import Objects


@dataclass(slots=True)
class VolumeReferences:
    """Which Secrets the PersistentVolumes name that a claim has."""

    named: dict[str, tuple[Reference, ...]] = field(default_factory=dict)
    by_secret: dict[Reference, dict[str, Reference]] = field(default_factory=dict)
    """A Secret → the volumes that name it, each with its claim."""

    def volume_changed(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        volume = new or old
        if volume is None:
            return
        name = volume.metadata.name or ""
        for secret in self.named.pop(name, ()):
            self.by_secret[secret].pop(name, None)
            if not self.by_secret[secret]:
                del self.by_secret[secret]
        claim = claim_of(new) if new else None
        if new is None or claim is None:
            return
        namespace = claim[1]
        self.named[name] = tuple(
            ("secrets", one.namespace or namespace, one.name or "") for one in secrets_of(new.spec)
        )
        for secret in self.named[name]:
            self.by_secret.setdefault(secret, {})[name] = claim

    def claims(self, secret: Reference) -> Iterable[Reference]:
        """The claims of the volumes that need this Secret to be mounted."""
        return self.by_secret.get(secret, {}).values()


def following_volumes(objects: Objects) -> VolumeReferences:
    found = VolumeReferences()
    objects.on_change(PersistentVolume, found.volume_changed)
    for volume in objects.list(PersistentVolume):
        found.volume_changed(None, volume)
    return found


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
