"""Which pods stand behind a Service, and on which ports. Rules that Endpoints and EndpointSlices share."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from kybern.api.core_v1 import Container, ObjectReference, Pod, Service, ServicePort
from kybern.api.selectors import of_labels
from kybern.client import View
from kybern.reconcile import Key
from kybern.reconcile.pods import is_finished

HEADLESS = "service.kubernetes.io/headless"


def has_selected_pods(service: Service) -> bool:
    """Without a selector somebody else says where the Service leads; an ExternalName leads out of the cluster."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def pods_of(service: Service, view: View) -> list[Pod]:
    selector = of_labels(service.spec.selector)
    return [pod for pod in view.list(Pod, service.metadata.namespace) if selector.matches(pod.metadata.labels)]


def services_of_pod(pod: Pod, view: View) -> Iterable[Key]:
    labels = (pod.metadata.labels or {}).items()
    for service in view.list(Service, pod.metadata.namespace or ""):
        if service.spec.selector and service.spec.selector.items() <= labels:
            yield Key.of(service)


def can_serve(pod: Pod, *, while_terminating: bool) -> bool:
    if not pod.status.pod_ip or is_finished(pod):
        return False
    return while_terminating or pod.metadata.deletion_timestamp is None


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The number on the pod; None when the pod has no port of that name."""
    wanted = port.target_port if port.target_port is not None else port.port
    if isinstance(wanted, int):
        return wanted or port.port
    protocol = port.protocol or "TCP"
    for container in (*pod.spec.containers, *restartable(pod)):
        for found in container.ports or ():
            if found.name == wanted and (found.protocol or "TCP") == protocol:
                return found.container_port
    return None


def restartable(pod: Pod) -> tuple[Container, ...]:
    """Init containers that keep running beside the others."""
    return tuple(container for container in pod.spec.init_containers or () if container.restart_policy == "Always")


def reference_to(pod: Pod) -> ObjectReference:
    meta = pod.metadata
    return ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)


def hostname_of(pod: Pod, service: Service) -> str | None:
    """The name under which cluster DNS finds this one pod of the Service."""
    return pod.spec.hostname if pod.spec.hostname and pod.spec.subdomain == service.metadata.name else None


def labels_of(service: Service) -> Mapping[str, str]:
    labels = {name: value for name, value in (service.metadata.labels or {}).items() if name != HEADLESS}
    return {**labels, HEADLESS: ""} if service.spec.cluster_ip == "None" else labels


def families_of(service: Service) -> tuple[str, ...]:
    return service.spec.ip_families or ("IPv4",)


def addresses_of(pod: Pod, address_type: str) -> tuple[str, ...]:
    found = [ip.ip or "" for ip in pod.status.pod_ips or ()] or [pod.status.pod_ip or ""]
    version = 6 if address_type == "IPv6" else 4
    return tuple(ip for ip in found if ip and ip_address(ip).version == version)
