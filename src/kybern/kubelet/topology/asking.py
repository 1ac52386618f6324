"""What containers need together: those that last, or an init container before them that needs more and is over then."""

from collections.abc import Callable, Mapping, Sequence

from kybern.api.core_v1 import Container, Pod
from kybern.kubelet.restarts import is_sidecar


def in_order(pod: Pod) -> list[tuple[Container, bool]]:
    """Its containers as they start, and whether each lasts beside those after it."""
    init = [(container, is_sidecar(container)) for container in pod.spec.init_containers or ()]
    return [*init, *((container, True) for container in pod.spec.containers)]


def together(
    pod: Pod, containers: Sequence[Container], asked: Callable[[Container], Mapping[str, int]]
) -> dict[str, int]:
    """By resource. `containers`: of the pod, in its order."""
    lasting: dict[str, int] = {}
    peak: dict[str, int] = {}
    over = {container.name for container, lasts in in_order(pod) if not lasts}
    for container in containers:
        for name, amount in asked(container).items():
            if container.name in over:
                peak[name] = max(peak.get(name, 0), lasting.get(name, 0) + amount)
            else:
                lasting[name] = lasting.get(name, 0) + amount
    return {name: max(lasting.get(name, 0), peak.get(name, 0)) for name in {**peak, **lasting}}
