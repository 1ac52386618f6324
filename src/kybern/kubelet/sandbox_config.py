"""The configuration of a pod's sandbox: a function of the pod and of how the node is set up."""

from collections.abc import Mapping
from dataclasses import replace

from kybern.api.core_v1 import Pod
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.enforceable import dotted
from kybern.kubelet.names import dns_config, hostname
from kybern.kubelet.observed import GRACE_PERIOD, POD_NAME, POD_NAMESPACE, POD_UID
from kybern.kubelet.resources import pod_cgroup
from kybern.kubelet.security import namespaces
from kybern.runtime.cri import DNSConfig, IdMapping, PodSandboxConfig, PortMapping, SandboxMetadata
from kybern.volumes.paths import single


def sandbox_config(
    pod: Pod,
    attempt: int,
    config: KubeletConfig,
    host_dns: DNSConfig,
    handler: str = "",
    ids: IdMapping | None = None,
) -> PodSandboxConfig:
    meta = pod.metadata
    containers = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    return PodSandboxConfig(
        metadata=SandboxMetadata(
            name=meta.name or "", namespace=meta.namespace or "", uid=meta.uid or "", attempt=attempt
        ),
        hostname=hostname(pod, config.cluster_domain),
        log_directory=log_directory(pod, config.logs_directory),
        dns=dns_config(pod, config.cluster_dns, config.cluster_domain, host_dns),
        port_mappings=() if pod.spec.host_network else _port_mappings(pod),
        labels={**(meta.labels or {}), **pod_labels(pod)},
        annotations={**(meta.annotations or {}), GRACE_PERIOD: str(grace_of(pod))},
        cgroup_parent=pod_cgroup(pod, config.cgroup_root),
        namespaces=replace(namespaces(pod), user_namespace=ids),
        sysctls=_sysctls(pod),
        privileged=any(c.security_context is not None and bool(c.security_context.privileged) for c in containers),
        runtime_handler=handler,
    )


def pod_labels(pod: Pod) -> Mapping[str, str]:
    """By which a sandbox or container is found again."""
    meta = pod.metadata
    return {POD_NAME: meta.name or "", POD_NAMESPACE: meta.namespace or "", POD_UID: meta.uid or ""}


def log_directory(pod: Pod, root: str) -> str:
    """`<root>/<namespace>_<name>_<uid>`."""
    meta = pod.metadata
    return f"{root}/{single(meta.namespace or '')}_{single(meta.name or '')}_{single(meta.uid or '')}"


def grace_of(pod: Pod) -> int:
    """The seconds that the pod asks for; 30 where it says nothing, upstream's default."""
    asked = pod.spec.termination_grace_period_seconds
    return 30 if asked is None else max(asked, 0)


def _port_mappings(pod: Pod) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(
            protocol=port.protocol or "TCP",
            container_port=port.container_port,
            host_port=port.host_port or 0,
            host_ip=port.host_ip or "",
        )
        for container in pod.spec.containers
        for port in container.ports or ()
    )


def _sysctls(pod: Pod) -> Mapping[str, str]:
    context = pod.spec.security_context
    return {dotted(sysctl.name): sysctl.value for sysctl in (context.sysctls if context else None) or ()}
