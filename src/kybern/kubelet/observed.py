"""What the runtime holds of one pod, as a value: the only thing besides the pod that decisions are made from.

Everything is found again from labels and annotations, so a kubelet that starts anew knows what its predecessor knew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import Pod
from kybern.runtime.cri import ContainerState, ContainerStatus, SandboxState, SandboxStatus

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
RESTART_COUNT = "io.kubernetes.container.restartCount"
CONTAINER_HASH = "io.kubernetes.container.hash"
GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
MESSAGE_FILE = "kybern.io/termination-message-file"


@dataclass(frozen=True, slots=True)
class Observed:
    """Sandboxes and containers, newest first."""

    sandboxes: tuple[SandboxStatus, ...] = ()
    containers: tuple[ContainerStatus, ...] = ()

    def latest(self, name: str) -> ContainerStatus | None:
        return next((found for found in self.containers if found.metadata.name == name), None)

    def previous(self, name: str) -> ContainerStatus | None:
        """The one before the latest."""
        found = [status for status in self.containers if status.metadata.name == name]
        return found[1] if len(found) > 1 else None

    @property
    def sandbox(self) -> SandboxStatus | None:
        """The newest, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> SandboxStatus | None:
        return next((found for found in self.sandboxes if found.state is SandboxState.READY), None)

    @property
    def running(self) -> tuple[ContainerStatus, ...]:
        """Whatever may still have a process."""
        return tuple(found for found in self.containers if found.state in MAYBE_ALIVE)

    @property
    def ips(self) -> tuple[str, ...]:
        sandbox = self.ready_sandbox
        return sandbox.ips if sandbox else ()


MAYBE_ALIVE = frozenset({ContainerState.RUNNING, ContainerState.UNKNOWN})  # what was only made ends with its sandbox


def restart_count(status: ContainerStatus) -> int:
    text = status.annotations.get(RESTART_COUNT, "")
    return int(text) if text.isascii() and text.isdecimal() else status.metadata.attempt


def by_pod(sandboxes: Iterable[SandboxStatus], containers: Iterable[ContainerStatus]) -> Mapping[str, Observed]:
    """Everything the runtime lists, sorted out by pod uid."""
    found: dict[str, tuple[list[SandboxStatus], list[ContainerStatus]]] = {}
    for sandbox in sandboxes:
        found.setdefault(sandbox.config.metadata.uid, ([], []))[0].append(sandbox)
    for container in containers:
        uid = container.labels.get(POD_UID, "")
        if uid:
            found.setdefault(uid, ([], []))[1].append(container)
    return {uid: observed(*parts) for uid, parts in found.items()}


def observed(sandboxes: Iterable[SandboxStatus], containers: Iterable[ContainerStatus]) -> Observed:
    """Attempts tell what is newest; the wall clock that dated them may have jumped."""
    return Observed(
        tuple(sorted(sandboxes, key=lambda s: (s.config.metadata.attempt, s.created_at), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.metadata.attempt, c.created_at), reverse=True)),
    )


def ips_of(pod: Pod, observed: Observed, host_ips: tuple[str, ...]) -> tuple[str, ...]:
    """The pod's addresses: its sandbox's, or the node's where it shares the node's network."""
    return host_ips if pod.spec.host_network else observed.ips


def ip_of(pod: Pod, observed: Observed, host_ips: tuple[str, ...]) -> str:
    """The first of them; empty where it has none yet."""
    return next(iter(ips_of(pod, observed, host_ips)), "")
