"""Why a service or a pod cannot be reached: the way of a packet, step by step, each looked at; the first that fails is the cause.

    name → service → endpoints → rules → route → policy → socket

What the API holds is judged here, as values. What only the machine knows (rules, routes, sockets) is asked of `Machine`;
where it cannot be asked (not root, not this machine) the step says so and is passed over.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kybern.api.core_v1 import Node, Pod, Service
from kybern.api.core_v1 import ServicePort as Port
from kybern.api.discovery_v1 import Endpoint, EndpointSlice
from kybern.api.selectors import of_labels
from kybern.network.follow import service_of
from kybern.network.policy.model import World, endpoint_of
from kybern.network.policy.verdict import dropped
from kybern.network.services import PROXY_NAME_LABEL, Backend, endpoints_of, external_ips, is_ready, serving

SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Step:
    about: str
    ok: bool | None
    """None where it could not be looked at."""
    said: str
    fix: str = ""


class Machine(Protocol):
    """Each tells what is wrong, "" where nothing is; None where it cannot be asked."""

    def rules(self, address: str, protocol: str, port: int) -> str | None: ...

    def route(self, pod: Pod) -> str | None:
        """To the node of a pod."""

    def firewall(self) -> str | None:
        """Of others on the machine."""

    def listening(self, pod: Pod, protocol: str, port: int) -> str | None: ...

    def has_dropped(self, at: str, source: str, target: str, protocol: str, port: int) -> bool:
        """Whether node `at` remembers such packets; it forgets after ten minutes."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the API says."""

    services: Sequence[Service]
    slices: Sequence[EndpointSlice]
    pods: Sequence[Pod]
    nodes: Sequence[Node]
    world: World


def explain_service(
    known: Known, machine: Machine, namespace: str, name: str, port: int = 0, source: Pod | None = None
) -> Iterator[Step]:
    """Ends with the first step that fails."""
    for step in service_steps(known, machine, namespace, name, port, source):
        yield step
        if step.ok is False:
            return


def explain_pod(
    known: Known, machine: Machine, source: Pod | None, target: Pod, port: int, protocol: str
) -> Iterator[Step]:
    for step in pod_steps(known, machine, source, target, port, protocol):
        yield step
        if step.ok is False:
            return


def service_steps(
    known: Known, machine: Machine, namespace: str, name: str, port: int, source: Pod | None
) -> Iterator[Step]:
    service = next((s for s in known.services if (s.metadata.namespace, s.metadata.name) == (namespace, name)), None)
    if service is None:
        yield no_service(known, namespace, name)
        return
    yield Step(
        "service", True, f"{namespace}/{name} is a {service.spec.type or 'ClusterIP'} at {service.spec.cluster_ip}"
    )
    if service.spec.type == "ExternalName":
        yield alias_step(known, service)
        return
    if PROXY_NAME_LABEL in (service.metadata.labels or {}):
        other = (service.metadata.labels or {})[PROXY_NAME_LABEL]
        yield Step("service", False, f"the service is left to another proxy, {other!r}, by its label {PROXY_NAME_LABEL}",
                   "take the label away, or run that proxy")  # fmt: skip
        return
    if service.spec.type == "LoadBalancer" and not external_ips(service):
        yield Step("balancer", None, "no load balancer's address has been given yet: kubectl describe service")
    yield asked_port(service, port)
    wanted = [p for p in service.spec.ports or () if not port or p.port == port]
    for found in wanted:
        yield from port_steps(known, machine, service, found, source)


def alias_step(known: Known, service: Service) -> Step:
    """An alias of a name of this cluster can be looked at."""
    target = service.spec.external_name or ""
    name, _, rest = target.rstrip(".").partition(".")
    namespace, _, zone = rest.partition(".")
    if zone.startswith("svc") and not any(
        (s.metadata.namespace, s.metadata.name) == (namespace, name) for s in known.services
    ):
        return Step("name", False, f"it is an alias of {target}, and there is no service {name} in namespace {namespace}",
                    "correct spec.externalName")  # fmt: skip
    return Step("name", True, f"an alias of {target}: what is there is nobody's here to know")


def no_service(known: Known, namespace: str, name: str) -> Step:
    elsewhere = sorted(s.metadata.namespace or "" for s in known.services if s.metadata.name == name)
    near = difflib.get_close_matches(
        name, [s.metadata.name or "" for s in known.services if s.metadata.namespace == namespace]
    )
    if elsewhere:
        fix = f"it is in namespace {elsewhere[0]}: ask for {name}.{elsewhere[0]}"
    else:
        fix = f"is it {near[0]}?" if near else f"kubectl expose deployment NAME --name {name} -n {namespace}"
    return Step(
        "service", False, f"there is no service {name} in namespace {namespace}, so the name does not resolve", fix
    )


def asked_port(service: Service, port: int) -> Step:
    offered = ", ".join(f"{p.port}/{p.protocol or 'TCP'}" for p in service.spec.ports or ())
    if port and not any(p.port == port for p in service.spec.ports or ()):
        return Step(
            "port",
            False,
            f"the service has no port {port}, only {offered or 'none'}",
            f"use one of {offered}, or add {port} to spec.ports",
        )
    return Step("port", True, f"it offers {offered}")


def port_steps(known: Known, machine: Machine, service: Service, port: Port, source: Pod | None) -> Iterator[Step]:
    yield endpoints_step(known, service, port)
    protocol = (port.protocol or "TCP").lower()
    found = found_endpoints(known, service, port)
    backends = serving(found)
    if source is not None and service.spec.internal_traffic_policy == "Local":
        yield local_step(found, source)
    if service.spec.cluster_ip not in (None, "", "None"):
        yield asked("rules", machine.rules(service.spec.cluster_ip or "", protocol, port.port),
                    f"{service.spec.cluster_ip}:{port.port} leads to {len(backends)} endpoints", "look into the node's log")  # fmt: skip
    for backend in backends:
        target = pod_at(known.pods, backend.address)
        if target is not None:
            yield from pod_steps(known, machine, source, target, backend.port, protocol)
        elif service.spec.selector:
            yield Step("endpoints", False, f"the endpoint {backend.address} is no pod's any more",
                       "wait for the EndpointSlice controller; if it does not come: kubectl -n kube-system get leases")  # fmt: skip
        else:
            yield Step("pod", None, f"{backend.address}:{backend.port} is no pod's: what is there is not looked at")


def local_step(found: Sequence[tuple[Endpoint, Backend]], source: Pod) -> Step:
    here = source.spec.node_name
    if any(endpoint.node_name == here for endpoint, _ in found):
        return Step("endpoints", True, f"some are on node {here}, where the traffic has to stay")
    nodes = ", ".join(sorted({endpoint.node_name or "?" for endpoint, _ in found}))
    return Step("endpoints", False, f"internalTrafficPolicy is Local, and node {here} has none of the endpoints (they are on {nodes})",
                "let it be Cluster, or run a pod of it on every node")  # fmt: skip


def slices_of(known: Known, service: Service) -> list[EndpointSlice]:
    key = (service.metadata.namespace or "", service.metadata.name or "")
    return [piece for piece in known.slices if service_of(piece) == key]


def found_endpoints(known: Known, service: Service, port: Port) -> list[tuple[Endpoint, Backend]]:
    of_service = slices_of(known, service)
    return [*endpoints_of(port, of_service, 4), *endpoints_of(port, of_service, 6)]


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
    for status in pod.status.init_container_statuses or ():
        if (
            not (status.state and status.state.terminated and status.state.terminated.exit_code == 0)
            and not status.started
        ):
            return f"init container {status.name} of {name} has not ended"
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


def pod_at(pods: Iterable[Pod], address: str) -> Pod | None:
    return next((pod for pod in pods if address in [found.ip for found in pod.status.pod_ips or ()]), None)


def pod_steps(
    known: Known, machine: Machine, source: Pod | None, target: Pod, port: int, protocol: str
) -> Iterator[Step]:
    name = f"{target.metadata.namespace}/{target.metadata.name}"
    if not target.status.pod_ips:
        yield Step(
            "pod", False, f"{name} has no address yet: {state_of(target)}", f"kybern why pod/{target.metadata.name}"
        )
        return
    yield Step("pod", True, f"{name} is {target.status.pod_ips[0].ip} on node {target.spec.node_name}")
    yield node_step(known.nodes, target)
    if source is not None and not source.status.pod_ips:
        yield Step(
            "pod",
            False,
            f"{source.metadata.name} has no address yet: {state_of(source)}",
            f"kybern why pod/{source.metadata.name}",
        )
        return
    yield asked("route", machine.route(target), f"node {target.spec.node_name} is reached", "kybern node heal NAME")
    yield asked("firewall", machine.firewall(), "nobody else's rules drop the cluster's packets", "take that rule away")
    if source is not None:
        yield policy_step(known, machine, source, target, protocol, port)
    where = f"{target.metadata.name} listens on port {port}"
    yield asked("socket", machine.listening(target, protocol, port), where, "start the program, or correct the port")


def node_step(nodes: Iterable[Node], target: Pod) -> Step:
    node = next((node for node in nodes if node.metadata.name == target.spec.node_name), None)
    if node is None:
        return Step("node", False, f"node {target.spec.node_name} is not there any more", "kubectl get nodes")
    ready = next((c for c in node.status.conditions or () if c.type == "Ready"), None)
    if ready is None or ready.status != "True":
        why = (ready.message or ready.reason or "") if ready else "it has not said a word yet"
        return Step("node", False, f"node {target.spec.node_name} is not ready: {why}", "kybern node ls")
    broken = next(
        (c for c in node.status.conditions or () if c.type == "NetworkUnavailable" and c.status == "True"), None
    )
    if broken is not None:
        return Step("node", False, f"the network of node {target.spec.node_name} is not there: {broken.message or broken.reason}",
                    "look into the node's log")  # fmt: skip
    return Step("node", True, f"node {target.spec.node_name} is ready")


def policy_step(known: Known, machine: Machine, source: Pod, target: Pod, protocol: str, port: int) -> Step:
    one, other = endpoint_of(source), endpoint_of(target)
    if one is None or other is None:
        return Step("policy", True, "a pod on its node's own network: policies by labels are not about it")
    drop = dropped(known.world, one, other, protocol, port)
    if drop is None:
        return Step("policy", True, "the policies of both pods let it pass")
    listed = ", ".join(drop.policies)
    node = (source if drop.direction == "egress" else target).spec.node_name or ""
    seen = (
        ", and has dropped such packets just now"
        if machine.has_dropped(node, one.ips[0], other.ips[0], protocol, port)
        else ""
    )
    toward = "leave" if drop.direction == "egress" else "enter"
    return Step("policy", False, f"NetworkPolicy {listed} does not let {protocol.upper()} {port} {toward} {drop.pod.namespace}/{drop.pod.name}{seen}",
                f"add {'a peer' if drop.direction == 'ingress' else 'a destination'} and port to its {drop.direction} rules")  # fmt: skip


def asked(about: str, wrong: str | None, well: str, fix: str) -> Step:
    if wrong is None:
        return Step(about, None, "not looked at: that takes root on the node's machine")
    return Step(about, False, wrong, fix) if wrong else Step(about, True, well)
