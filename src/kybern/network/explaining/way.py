"""The way to a service or a pod. What it walks ends with the first step that fails."""

import difflib
from collections.abc import Iterable, Iterator

from kybern.api.core_v1 import Pod, Service
from kybern.api.core_v1 import ServicePort as Port
from kybern.network.explaining.endpoints import endpoints_step, found_endpoints, local_step
from kybern.network.explaining.pods import pod_steps
from kybern.network.explaining.steps import Known, Machine, Step, asked
from kybern.network.services import PROXY_NAME_LABEL, external_ips, serving


def explain_service(
    known: Known, machine: Machine, namespace: str, name: str, port: int = 0, source: Pod | None = None
) -> Iterator[Step]:
    return to_the_first_fault(service_steps(known, machine, namespace, name, port, source))


def explain_pod(
    known: Known, machine: Machine, source: Pod | None, target: Pod, port: int, protocol: str
) -> Iterator[Step]:
    return to_the_first_fault(pod_steps(known, machine, source, target, port, protocol))


def to_the_first_fault(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
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


def pod_at(pods: Iterable[Pod], address: str) -> Pod | None:
    return next((pod for pod in pods if address in [found.ip for found in pod.status.pod_ips or ()]), None)
