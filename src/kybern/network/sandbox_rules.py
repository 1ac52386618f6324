"""What a pod needs in the kernel besides its link, from before its first packet until it is gone: its policies' rules,
and its ports on the node's addresses."""

from collections.abc import Iterable, Iterator

from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.network.proxy import ServiceProxy
from kybern.network.rules import HostPort
from kybern.runtime.cri import PodSandboxConfig, SandboxStatus


class SandboxRules:
    """The `Guard` of a node's pod network."""

    def __init__(self, policies: PolicyEnforcer, proxy: ServiceProxy | None) -> None:
        """Without a proxy nobody's host ports are opened: whoever stands in for it does that."""
        self.policies, self.proxy = policies, proxy

    def adopt(self, sandboxes: Iterable[SandboxStatus]) -> None:
        """What is there when this process starts."""
        found = [sandbox for sandbox in sandboxes if sandbox.ips]
        for sandbox in found:
            self._open(sandbox.id, sandbox.config, sandbox.ips)
        if self.proxy is not None:
            self.proxy.adopted.set()
        self.policies.adopt(found)

    async def admit(self, sandbox_id: str, config: PodSandboxConfig, ips: tuple[str, ...]) -> None:
        await self.policies.admit(sandbox_id, config, ips)
        self._open(sandbox_id, config, ips)

    def dismiss(self, sandbox_id: str) -> None:
        self.policies.dismiss(sandbox_id)
        if self.proxy is not None:
            self.proxy.open_host_ports(sandbox_id, ())

    def _open(self, sandbox_id: str, config: PodSandboxConfig, ips: tuple[str, ...]) -> None:
        if self.proxy is not None:
            self.proxy.open_host_ports(sandbox_id, tuple(host_ports(config, ips)))


def host_ports(config: PodSandboxConfig, ips: tuple[str, ...]) -> Iterator[HostPort]:
    for mapping in config.port_mappings:
        for ip in ips if mapping.host_port else ():
            if not mapping.host_ip or mapping.host_ip in ("0.0.0.0", "::") or (":" in mapping.host_ip) == (":" in ip):
                yield HostPort(
                    host_ip=mapping.host_ip,
                    protocol=mapping.protocol.lower(),
                    host_port=mapping.host_port,
                    address=ip,
                    port=mapping.container_port,
                )
