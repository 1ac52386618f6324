"""`baseline` keeps known ways to escalate out. Each check says what a pod does that is not allowed, in upstream's words.

Where a later version of the standard allows more or less, there are several, each from a version on.
"""

from collections.abc import Iterator
from typing import Any

from kybern.api.core_v1 import PodSpec
from kybern.apiserver.admission.podsecurity.judging import (
    Annotations,
    Check,
    Violation,
    called,
    containers,
    contexts,
    forbidden_seccomp,
    in_user_namespace,
    plural,
    quoted,
    setters,
    those,
    values,
)
from kybern.registry.podspec.annotations import APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD

CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip


def host_namespaces(spec: PodSpec, _: Annotations) -> Violation | None:
    asked = {"hostNetwork": spec.host_network, "hostPID": spec.host_pid, "hostIPC": spec.host_ipc}
    found = [f"{name}=true" for name, on in asked.items() if on]
    return Violation("host namespaces", ", ".join(found)) if found else None


def privileged(spec: PodSpec, _: Annotations) -> Violation | None:
    names = those(spec, lambda context: bool(context.privileged))
    if not names:
        return None
    return Violation("privileged", f"{called(names)} must not set securityContext.privileged=true")


def more_capabilities(spec: PodSpec, _: Annotations) -> Violation | None:
    names, found = added_capabilities(spec, CAPABILITIES)
    if not names:
        return None
    said = f"must not include {quoted(found)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", f"{called(names)} {said}")


def added_capabilities(spec: PodSpec, allowed: set[str]) -> tuple[list[str], list[str]]:
    """Who adds capabilities that are not among these, and which."""
    names, found = [], set()
    for container in containers(spec):
        context = container.security_context
        asked = set((context.capabilities.add if context and context.capabilities else None) or ()) - allowed
        if asked:
            names.append(container.name)
            found |= asked
    return names, sorted(found)


def host_paths(spec: PodSpec, _: Annotations) -> Violation | None:
    names = [volume.name for volume in spec.volumes or () if volume.host_path is not None]
    return Violation("hostPath volumes", f"{plural('volume', names)} {quoted(names)}") if names else None


def host_ports(spec: PodSpec, _: Annotations) -> Violation | None:
    found = {c.name: [str(p.host_port) for p in c.ports or () if p.host_port] for c in containers(spec)}
    names = [name for name, ports in found.items() if ports]
    ports = sorted({port for listed in found.values() for port in listed})
    if not names:
        return None
    return Violation("hostPort", f"{called(names)} {uses(names)} {plural('hostPort', ports)} {', '.join(ports)}")


def uses(names: list[str]) -> str:
    return "uses" if len(names) == 1 else "use"


def other_hosts(spec: PodSpec, _: Annotations) -> Violation | None:
    """Probes and lifecycle hooks that the kubelet would send elsewhere than to the pod."""
    found = {c.name: list(hosts_of(c)) for c in containers(spec)}
    names = sorted(name for name, hosts in found.items() if hosts)
    hosts = sorted({host for listed in found.values() for host in listed})
    if not names:
        return None
    what = plural("probe or lifecycle host", hosts)
    return Violation("probe or lifecycle host", f"{called(names)} {uses(names)} {what} {quoted(hosts)}")


def hosts_of(container: Any) -> Iterator[str]:
    hooks = container.lifecycle
    handlers = [container.liveness_probe, container.readiness_probe, container.startup_probe]
    handlers += [hooks.post_start, hooks.pre_stop] if hooks else []
    for handler in handlers:
        for action in (handler.http_get, handler.tcp_socket) if handler else ():
            if action and action.host:
                yield action.host


def proc_mounts(spec: PodSpec, _: Annotations) -> Violation | None:
    names = those(spec, lambda context: context.proc_mount not in (None, "Default"))
    if not names:
        return None
    types = {c.security_context.proc_mount for c in containers(spec) if c.name in names}
    return Violation("procMount", f"{called(names)} must not set securityContext.procMount to {quoted(sorted(types))}")


def proc_mounts_by_root(spec: PodSpec, annotations: Annotations) -> Violation | None:
    return None if in_user_namespace(spec) else proc_mounts(spec, annotations)


def annotated_seccomp(spec: PodSpec, annotations: Annotations) -> Violation | None:
    """As it was said before there was a field for it."""
    places = [SECCOMP_POD, *(f"{SECCOMP_CONTAINER}{container.name}" for container in containers(spec))]
    said = {place: annotations[place] for place in places if place in annotations}
    found = sorted(f'{place}="{value}"' for place, value in said.items() if not is_seccomp(value))
    if not found:
        return None
    return Violation("seccompProfile", f"forbidden {plural('annotation', found)} {', '.join(found)}")


def is_seccomp(value: str) -> bool:
    return value in ("runtime/default", "docker/default") or value.startswith("localhost/")


def seccomp(spec: PodSpec, _: Annotations) -> Violation | None:
    return forbidden_seccomp(spec)


def sysctls(*allowed: str) -> Check:
    def check(spec: PodSpec, _: Annotations) -> Violation | None:
        asked = (spec.security_context.sysctls if spec.security_context else None) or ()
        found = [sysctl.name for sysctl in asked if sysctl.name not in allowed]
        return Violation("forbidden sysctls", ", ".join(found)) if found else None

    return check


def selinux(*types: str) -> Check:
    def wrong(context: Any) -> bool:
        options = context.se_linux_options
        return options is not None and bool((options.type or "") not in types or options.user or options.role)

    def check(spec: PodSpec, _: Annotations) -> Violation | None:
        found = setters(spec, wrong)
        if not found:
            return None
        asked = values(spec, lambda context: [context.se_linux_options.type or ""] if wrong(context) else [])
        others = [type for type in asked if type not in types]
        parts = [f"{plural('type', others)} {quoted(others)}"] if others else []
        options = [context.se_linux_options for context in contexts(spec) if context.se_linux_options is not None]
        parts += [f"{name} may not be set" for name in ("user", "role") if any(getattr(one, name) for one in options)]
        return Violation("seLinuxOptions", f"{found} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}")

    return check


def apparmor(spec: PodSpec, annotations: Annotations) -> Violation | None:
    noted = sorted(
        f'{key}="{value}"' for key, value in annotations.items() if key.startswith(APP_ARMOR) and not is_apparmor(value)
    )
    types = values(spec, lambda context: [context.app_armor_profile.type] if unconfined(context) else [])
    who = [setters(spec, unconfined)] if types else []
    who += [plural("annotation", noted)] if noted else []
    if not who:
        return None
    said = f"{' and '.join(who)} must not set AppArmor profile type to {quoted([*types, *noted])}"
    return Violation(plural("forbidden AppArmor profile", [*types, *noted]), said)


def is_apparmor(value: str) -> bool:
    return value in ("", "runtime/default") or value.startswith("localhost/")


def unconfined(context: Any) -> bool:
    profile = context.app_armor_profile
    return profile is not None and profile.type not in ("RuntimeDefault", "Localhost")


def host_process(spec: PodSpec, _: Annotations) -> Violation | None:
    found = setters(spec, lambda context: bool(context.windows_options and context.windows_options.host_process))
    if not found:
        return None
    return Violation("hostProcess", f"{found} must not set securityContext.windowsOptions.hostProcess=true")


FIRST_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
)  # fmt: skip
SYSCTLS_27 = (*FIRST_SYSCTLS, "net.ipv4.ip_local_reserved_ports")
SYSCTLS_29 = (
    *SYSCTLS_27, "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
)  # fmt: skip
SYSCTLS_32 = (*SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
SYSCTLS_37 = (*SYSCTLS_32, "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat")
SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t")

BASELINE: dict[str, dict[int, Check]] = {
    "appArmorProfile": {0: apparmor},
    "capabilities_baseline": {0: more_capabilities},
    "hostNamespaces": {0: host_namespaces},
    "hostPathVolumes": {0: host_paths},
    "hostPorts": {0: host_ports},
    "hostProbesAndHostLifecycle": {34: other_hosts},
    "privileged": {0: privileged},
    "procMount": {0: proc_mounts, 35: proc_mounts_by_root},
    "seLinuxOptions": {0: selinux(*SELINUX_TYPES), 31: selinux(*SELINUX_TYPES, "container_engine_t")},
    "seccompProfile_baseline": {0: annotated_seccomp, 19: seccomp},
    "sysctls": {
        0: sysctls(*FIRST_SYSCTLS), 27: sysctls(*SYSCTLS_27), 29: sysctls(*SYSCTLS_29), 32: sysctls(*SYSCTLS_32),
        37: sysctls(*SYSCTLS_37),
    },
    "windowsHostProcess": {0: host_process},
}  # fmt: skip
"""Each check by upstream's name, in the order in which they are told: minor version → the check from then on."""
