"""Where a probe or hook goes: host, port and path from an action and the container it belongs to."""

from dataclasses import dataclass

from kybern.api.core_v1 import Container, EphemeralContainer, HTTPGetAction, TCPSocketAction

USER_AGENT = "kube-probe/1.37"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    secure: bool
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


def http_target(action: HTTPGetAction, container: Container | EphemeralContainer, pod_ip: str) -> HttpTarget:
    path = action.path or "/"
    headers = tuple((header.name, header.value) for header in action.http_headers or ())
    named = {name.lower() for name, _ in headers}
    if "user-agent" not in named:
        headers += (("User-Agent", USER_AGENT),)
    if "accept" not in named:
        headers += (("Accept", "*/*"),)
    return HttpTarget(
        secure=(action.scheme or "HTTP").upper() == "HTTPS",
        host=action.host or pod_ip,
        port=port_of(action.port, container),
        path=path if path.startswith("/") else f"/{path}",
        headers=headers,
    )


def tcp_target(action: TCPSocketAction, container: Container | EphemeralContainer, pod_ip: str) -> tuple[str, int]:
    return action.host or pod_ip, port_of(action.port, container)


def port_of(port: int | str, container: Container | EphemeralContainer) -> int:
    """A number, or the container's port of that name. ValueError where there is none."""
    if isinstance(port, str):
        named = next((known.container_port for known in container.ports or () if known.name == port), None)
        if named is None and not port.isdecimal():
            raise ValueError(f"couldn't find port: {port!r} in container")
        port = named if named is not None else int(port)
    if not 0 < port < 65536:
        raise ValueError(f"invalid port number: {port}")
    return port
