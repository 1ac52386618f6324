"""Rounds of a pod: a container whose end asks for `RestartAllContainers` ends the round, and all start anew in the same sandbox.

What belongs to an earlier round is history: what still runs of it is ended, and then init containers begin again.
"""

from dataclasses import replace

from kybern.api.core_v1 import Container, Pod
from kybern.kubelet.observed import Observed
from kybern.kubelet.restarts import RESTART_ALL, may_restart_all, rule_for
from kybern.runtime.cri import ContainerState, ContainerStatus


def began_at(pod: Pod, observed: Observed) -> float:
    """When the last one to end a round did; 0 where none has."""
    return max((s.finished_at for s in observed.containers if ended_round(pod, observed, s)), default=0.0)


def ended_round(pod: Pod, observed: Observed, status: ContainerStatus) -> bool:
    if not may_restart_all(pod) or status.state is not ContainerState.EXITED:
        return False
    here = observed.sandbox is not None and status.sandbox_id == observed.sandbox.id
    container = _all(pod).get(status.metadata.name)
    return here and container is not None and rule_for(container, status.exit_code) == RESTART_ALL


def left_over(pod: Pod, observed: Observed) -> tuple[ContainerStatus, ...]:
    """What runs of an earlier round. Ephemeral containers have no part in rounds."""
    began, names = began_at(pod, observed), _all(pod)
    return tuple(s for s in observed.running if s.metadata.name in names and s.created_at < began)


def current(pod: Pod, observed: Observed) -> Observed:
    """Without the containers of earlier rounds."""
    began, names = began_at(pod, observed), _all(pod)
    if not began:
        return observed
    kept = tuple(s for s in observed.containers if s.metadata.name not in names or s.created_at >= began)
    return replace(observed, containers=kept)


def ended_for_others(pod: Pod, observed: Observed, status: ContainerStatus) -> bool:
    """It did nothing that it would have to wait for."""
    return status.created_at < began_at(pod, observed) and not ended_round(pod, observed, status)


def _all(pod: Pod) -> dict[str, Container]:
    return {container.name: container for container in (*(pod.spec.init_containers or ()), *pod.spec.containers)}
