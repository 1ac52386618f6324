"""What a pod asks of its node's kernel that the node cannot or will not give: it is refused, never quietly left out."""

from collections.abc import Collection

from kybern.api.core_v1 import Pod
from kybern.kubelet.status import Verdict
from kybern.registry.podspec.security import SAFE_SYSCTLS

# by the namespace that a sysctl belongs to
OF_THE_NETWORK = ("net.",)
OF_IPC = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
NO_APPARMOR = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
NO_DEFAULT_PROFILE = "Cannot enforce AppArmor: this node has no default profile, only ones by name"


def refuse_unenforceable(pod: Pod, unsafe_sysctls: Collection[str], apparmor: bool) -> Verdict | None:
    return _sysctls(pod, unsafe_sysctls) or _apparmor(pod, apparmor)


def _sysctls(pod: Pod, unsafe: Collection[str]) -> Verdict | None:
    """`unsafe`: the ones this node allows besides, by name or as `kernel.msg*`."""
    context = pod.spec.security_context
    for sysctl in (context.sysctls if context else None) or ():
        name = dotted(sysctl.name)
        if name not in SAFE_SYSCTLS and not _allowed(name, unsafe):
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        if name.startswith(OF_THE_NETWORK) and pod.spec.host_network:
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host net enabled')
        if name.startswith(OF_IPC) and pod.spec.host_ipc:
            return Verdict("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host ipc enabled')
    return None


def _allowed(name: str, unsafe: Collection[str]) -> bool:
    """Only what belongs to a namespace can be allowed at all."""
    if not name.startswith((*OF_THE_NETWORK, *OF_IPC)):
        return False
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in unsafe)


def dotted(name: str) -> str:
    """Whichever of dot and slash comes first separates; the other is part of a name: `net/ipv4/conf/eth0.100/x`."""
    first = next((mark for mark in name if mark in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def _apparmor(pod: Pod, enabled: bool) -> Verdict | None:
    asked = {kind for kind in _profiles(pod) if kind != "Unconfined"}
    if asked and not enabled:
        return Verdict("AppArmor", NO_APPARMOR)
    return Verdict("AppArmor", NO_DEFAULT_PROFILE) if "RuntimeDefault" in asked else None


def _profiles(pod: Pod) -> list[str]:
    """The type of each profile that the pod or one of its containers names; privileged ones have none."""
    contexts = [pod.spec.security_context]
    found = [c.app_armor_profile.type for c in contexts if c is not None and c.app_armor_profile is not None]
    for container in (*pod.spec.containers, *(pod.spec.init_containers or ())):
        own = container.security_context
        if own is not None and own.app_armor_profile is not None and not own.privileged:
            found.append(own.app_armor_profile.type)
    return found
