"""Environment variables that tell a container where the services of its namespace are (Docker's old link variables)."""

from collections.abc import Iterable

from kybern.api.core_v1 import Service, ServicePort

MASTER_SERVICE = ("default", "kubernetes")  # Every pod is told about this one, in whatever namespace it is.


def service_variables(services: Iterable[Service], namespace: str, links: bool) -> dict[str, str]:
    """`links` is the pod's enableServiceLinks: without it only the API server is named."""
    found: dict[str, str] = {}
    for service in sorted(services, key=lambda s: (s.metadata.namespace != "default", s.metadata.name or "")):
        master = (service.metadata.namespace, service.metadata.name) == MASTER_SERVICE
        own = service.metadata.namespace == namespace and links
        if (master or own) and _has_address(service):
            found |= _variables(service)
    return found


def _has_address(service: Service) -> bool:
    return service.spec.cluster_ip not in (None, "", "None") and bool(service.spec.ports)


def _variables(service: Service) -> dict[str, str]:
    name = (service.metadata.name or "").upper().replace("-", "_")
    address = service.spec.cluster_ip or ""
    ports = service.spec.ports or ()
    found = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0].port)}
    for port in ports:
        if port.name:
            found[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    found[f"{name}_PORT"] = _url(address, ports[0])
    for port in ports:
        found |= _link(f"{name}_PORT_{port.port}_{_protocol(port).upper()}", address, port)
    return found


def _link(prefix: str, address: str, port: ServicePort) -> dict[str, str]:
    return {
        prefix: _url(address, port),
        f"{prefix}_PROTO": _protocol(port),
        f"{prefix}_PORT": str(port.port),
        f"{prefix}_ADDR": address,
    }


def _protocol(port: ServicePort) -> str:
    return (port.protocol or "TCP").lower()


def _url(address: str, port: ServicePort) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{_protocol(port)}://{host}:{port.port}"
