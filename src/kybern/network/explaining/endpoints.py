"""Whether a service's port has endpoints, and why not: nobody has its labels, nobody its port, or nobody is ready yet."""

import difflib
from collections.abc import Iterable, Sequence

from kybern.api.core_v1 import Pod, Service
from kybern.api.core_v1 import ServicePort as Port
from kybern.api.discovery_v1 import Endpoint, EndpointSlice
from kybern.api.selectors import of_labels
from kybern.network.explaining.steps import Known, Step
from kybern.network.follow import service_of
from kybern.network.policy.model import FINISHED
from kybern.network.services import Backend, endpoints_of, is_ready, serving

SHOWN_MAX = 5


def endpoints_step(known: Known, service: Service, port: Port) -> Step:
    found = found_endpoints(known, service, port)
    ready = [backend for endpoint, backend in found if is_ready(endpoint)]
    if ready:
        shown = ", ".join(f"{b.address}:{b.port}" for b in sorted(set(ready))[:SHOWN_MAX])
        return Step("endpoints", True, f"{len(set(ready))} ready for port {port.port}: {shown}")
    if serving(found):
        return Step("endpoints", True, "none is ready; those that are ending still serve")
    if not service.spec.selector:
        name = service.metadata.name
        if any(piece.endpoints for piece in slices_of(known, service)):
            return Step("endpoints", False, f"no EndpointSlice of the service has a port {port.name or '(without a name)'!r} of {port.protocol or 'TCP'}",
                        "give the slice's port the name and the protocol of the service's")  # fmt: skip
        return Step("endpoints", False, "the service has no selector and no EndpointSlice of its own",
                    f"kubectl apply an EndpointSlice with the label kubernetes.io/service-name={name}")  # fmt: skip
    return selected_step(known, service, port)


def selected_step(known: Known, service: Service, port: Port) -> Step:
    selector = of_labels(service.spec.selector)
    here = [pod for pod in known.pods if pod.metadata.namespace == service.metadata.namespace]
    selected = [pod for pod in here if selector.matches(pod.metadata.labels)]
    if not selected:
        return Step("endpoints", False, f"no pod has the labels {selector}", nearest_labels(service, here))
    if isinstance(port.target_port, str):
        offered = {p.name for pod in selected for c in pod.spec.containers for p in c.ports or ()}
        if port.target_port not in offered:
            listed = ", ".join(sorted(name for name in offered if name)) or "none"
            return Step("endpoints", False, f"the pods have no port named {port.target_port!r} (they have {listed})",
                        "name the container's port so, or give targetPort a number")  # fmt: skip
        protocol = port.protocol or "TCP"
        of = {
            p.protocol or "TCP"
            for pod in selected
            for c in pod.spec.containers
            for p in c.ports or ()
            if p.name == port.target_port
        }
        if protocol not in of:
            return Step("endpoints", False, f"the pods' port {port.target_port!r} is {', '.join(sorted(of))}, and the service asks for {protocol}",
                        "give both the same protocol")  # fmt: skip
    pod = selected[0]
    return Step("endpoints", False, f"none of the {len(selected)} selected pods is ready: {state_of(pod)}",
                f"kubectl describe pod {pod.metadata.name} -n {pod.metadata.namespace}")  # fmt: skip


def nearest_labels(service: Service, pods: Iterable[Pod]) -> str:
    wanted = dict(service.spec.selector or {})
    for pod in pods:
        labels = dict(pod.metadata.labels or {})
        for key, value in labels.items():
            if key in wanted and difflib.SequenceMatcher(None, value, wanted[key]).ratio() > 0.5:
                return f"pod {pod.metadata.name} has {key}={value}: is that what the selector means?"
    return "start pods with these labels, or change spec.selector"


def state_of(pod: Pod) -> str:
    """What keeps it from being ready, the first thing first."""
    name, conditions = pod.metadata.name, {c.type: c for c in pod.status.conditions or ()}
    if pod.metadata.deletion_timestamp is not None:
        return f"{name} is ending"
    placed = conditions.get("PodScheduled")
    if placed is not None and placed.status == "False":
        return f"{name} has no node: {placed.message or placed.reason}"
    if pod.status.phase in FINISHED:
        return f"{name} is {pod.status.phase}"
    sidecars = {each.name for each in pod.spec.init_containers or () if each.restart_policy == "Always"}
    for status in pod.status.init_container_statuses or ():
        ended = status.state and status.state.terminated and status.state.terminated.exit_code == 0
        if not ended and not (status.name in sidecars and status.started):
            return f"init container {status.name} of {name} has not {'started' if status.name in sidecars else 'ended'}"
    for status in pod.status.container_statuses or ():
        waiting = status.state.waiting if status.state else None
        if waiting:
            return f"container {status.name} of {name} is waiting: {waiting.reason}"
        if status.started is False:
            return f"container {status.name} of {name} runs, and its startup probe has not passed yet"
        if not status.ready:
            return f"container {status.name} of {name} runs and is not ready: its readiness probe fails"
    for gate in pod.spec.readiness_gates or ():
        condition = conditions.get(gate.condition_type)
        if condition is None or condition.status != "True":
            return f"the readiness gate {gate.condition_type} of {name} is not True"
    return f"{name} is {pod.status.phase or 'unknown'}"


def local_step(found: Sequence[tuple[Endpoint, Backend]], source: Pod) -> Step:
    here = source.spec.node_name
    if any(endpoint.node_name == here for endpoint, _ in found):
        return Step("endpoints", True, f"some are on node {here}, where the traffic has to stay")
    nodes = ", ".join(sorted({endpoint.node_name or "?" for endpoint, _ in found}))
    return Step("endpoints", False, f"internalTrafficPolicy is Local, and node {here} has none of the endpoints (they are on {nodes})",
                "let it be Cluster, or run a pod of it on every node")  # fmt: skip


def found_endpoints(known: Known, service: Service, port: Port) -> list[tuple[Endpoint, Backend]]:
    of_service = slices_of(known, service)
    return [*endpoints_of(port, of_service, 4), *endpoints_of(port, of_service, 6)]


def slices_of(known: Known, service: Service) -> list[EndpointSlice]:
    key = (service.metadata.namespace or "", service.metadata.name or "")
    return [piece for piece in known.slices if service_of(piece) == key]
