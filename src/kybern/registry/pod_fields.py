"""The fields that pods can be selected by, and the part of a pod that they lie in.

Every change of a pod is shown to whoever watches pods by a field, each kubelet to begin with: of the whole pod only
this much is read for it.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from kybern.api.core_v1 import PodIP


class SpecPart(Struct, frozen=True, gc=False, rename="camel"):
    node_name: str | None = None
    restart_policy: str | None = None
    scheduler_name: str | None = None
    service_account_name: str | None = None
    host_network: bool | None = None


class StatusPart(Struct, frozen=True, gc=False, rename="camel"):
    phase: str | None = None
    pod_ip: str | None = field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = field(default=None, name="podIPs")
    nominated_node_name: str | None = None


class PodPart(Struct, frozen=True, gc=False):
    spec: SpecPart = SpecPart()
    status: StatusPart = StatusPart()


POD_FIELDS: Mapping[str, Callable[[PodPart], str]] = {
    "spec.nodeName": lambda pod: pod.spec.node_name or "",
    "spec.restartPolicy": lambda pod: pod.spec.restart_policy or "",
    "spec.schedulerName": lambda pod: pod.spec.scheduler_name or "",
    "spec.serviceAccountName": lambda pod: pod.spec.service_account_name or "",
    "spec.hostNetwork": lambda pod: "true" if pod.spec.host_network else "false",
    "status.phase": lambda pod: pod.status.phase or "",
    "status.podIP": lambda pod: pod.status.pod_ip or "",
    "status.podIPs": lambda pod: ",".join(ip.ip for ip in pod.status.pod_ips or ()),
    "status.nominatedNodeName": lambda pod: pod.status.nominated_node_name or "",
}
