"""The Pod Security Standards as checks: each yields what a pod does that a level does not allow, in upstream's words.

`baseline` keeps known ways to escalate out; `restricted` asks for what a hardened pod states by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kybern.api.core_v1 import PodSpec
from kybern.registry.podspec.security import SAFE_SYSCTLS

Check = Callable[[PodSpec, Mapping[str, str]], Iterator[str]]

CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
VOLUMES = {
    "config_map", "csi", "downward_api", "empty_dir", "ephemeral", "persistent_volume_claim", "projected", "secret",
    "image",
}  # fmt: skip
SECCOMP = ("RuntimeDefault", "Localhost")


def violations(level: str, spec: PodSpec, annotations: Mapping[str, str]) -> list[str]:
    checks = {"baseline": BASELINE, "restricted": RESTRICTED}.get(level, ())
    return [found for check in checks for found in check(spec, annotations)]


def containers(spec: PodSpec) -> Iterator[Any]:
    yield from spec.init_containers or ()
    yield from spec.containers
    yield from spec.ephemeral_containers or ()


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def where(names: list[str], said: str) -> str:
    """`container "a" must set …`, `containers "a", "b" must set …`."""
    return f"{'container' if len(names) == 1 else 'containers'} {quoted(names)} {said}"


def those(spec: PodSpec, wrong: Callable[[Any], bool]) -> list[str]:
    """The containers with a security context that is wrong."""
    return [c.name for c in containers(spec) if c.security_context is not None and wrong(c.security_context)]


def host_namespaces(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    asked = {"hostNetwork": spec.host_network, "hostPID": spec.host_pid, "hostIPC": spec.host_ipc}
    found = [f"{name}=true" for name, on in asked.items() if on]
    if found:
        yield f"host namespaces ({', '.join(found)})"


def privileged(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    names = those(spec, lambda context: bool(context.privileged))
    if names:
        yield f"privileged ({where(names, 'must not set securityContext.privileged=true')})"


def more_capabilities(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    names, found = added_capabilities(spec, CAPABILITIES)
    if names:
        said = f"must not include {quoted(found)} in securityContext.capabilities.add"
        yield f"non-default capabilities ({where(names, said)})"


def added_capabilities(spec: PodSpec, allowed: set[str]) -> tuple[list[str], list[str]]:
    names, found = [], set()
    for container in containers(spec):
        context = container.security_context
        asked = set((context.capabilities.add if context and context.capabilities else None) or ()) - allowed
        if asked:
            names.append(container.name)
            found |= asked
    return names, sorted(found)


def host_paths(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    names = [volume.name for volume in spec.volumes or () if volume.host_path]
    if names:
        yield f"hostPath volumes ({'volume' if len(names) == 1 else 'volumes'} {quoted(names)})"


def host_ports(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    found = {c.name: [p.host_port for p in c.ports or () if p.host_port] for c in containers(spec)}
    names = [name for name, ports in found.items() if ports]
    ports = sorted({port for listed in found.values() for port in listed})
    if names:
        said = f"uses {'hostPort' if len(ports) == 1 else 'hostPorts'} {', '.join(map(str, ports))}"
        yield f"hostPort ({where(names, said if len(names) == 1 else said.replace('uses', 'use', 1))})"


def other_hosts(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    """Probes and lifecycle hooks that the kubelet would send elsewhere than to the pod."""
    found = {c.name: list(hosts_of(c)) for c in containers(spec)}
    names = sorted(name for name, hosts in found.items() if hosts)
    hosts = sorted({host for listed in found.values() for host in listed})
    if names:
        verb = "uses" if len(names) == 1 else "use"
        what = "probe or lifecycle host" if len(hosts) == 1 else "probe or lifecycle hosts"
        yield f"probe or lifecycle host ({where(names, f'{verb} {what} {quoted(hosts)}')})"


def hosts_of(container: Any) -> Iterator[str]:
    hooks = container.lifecycle
    handlers = [container.liveness_probe, container.readiness_probe, container.startup_probe]
    handlers += [hooks.post_start, hooks.pre_stop] if hooks else []
    for handler in handlers:
        for action in (handler.http_get, handler.tcp_socket) if handler else ():
            if action and action.host:
                yield action.host


def in_user_namespace(spec: PodSpec) -> bool:
    """Root there is nobody here."""
    return spec.host_users is False


def is_windows(spec: PodSpec) -> bool:
    """Where these fields of a security context do not exist."""
    return spec.os is not None and spec.os.name == "windows"


def proc_mounts_by_root(spec: PodSpec, annotations: Mapping[str, str]) -> Iterator[str]:
    if not in_user_namespace(spec):
        yield from proc_mounts(spec, annotations)


def proc_mounts(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    names = those(spec, lambda context: context.proc_mount not in (None, "", "Default"))
    if names:
        yield f"procMount ({where(names, 'must not set securityContext.procMount')})"


def unconfined_seccomp(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    found = those(spec, lambda context: bool(context.seccomp_profile and context.seccomp_profile.type == "Unconfined"))
    parts = ["pod"] if is_unconfined(spec.security_context) else []
    parts += [where(found, "")[:-1]] if found else []
    if parts:
        yield f'seccompProfile ({" and ".join(parts)} must not set securityContext.seccompProfile.type to "Unconfined")'


def is_unconfined(context: Any) -> bool:
    return bool(context and context.seccomp_profile and context.seccomp_profile.type == "Unconfined")


def sysctls(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    asked = (spec.security_context.sysctls if spec.security_context else None) or ()
    found = [sysctl.name for sysctl in asked if sysctl.name not in SAFE_SYSCTLS]
    if found:
        yield f"forbidden sysctls ({', '.join(found)})"


def selinux(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    contexts = [spec.security_context, *(container.security_context for container in containers(spec))]
    options = [context.se_linux_options for context in contexts if context and context.se_linux_options]
    wrong = [o for o in options if (o.type or "") not in SELINUX_TYPES or o.user or o.role]
    if wrong:
        yield "seLinuxOptions (pod or containers set forbidden securityContext.seLinuxOptions)"


def apparmor(spec: PodSpec, annotations: Mapping[str, str]) -> Iterator[str]:
    found = [
        f'{key}="{value}"'
        for key, value in sorted(annotations.items())
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    ]
    contexts = [spec.security_context, *(container.security_context for container in containers(spec))]
    if any(
        context and context.app_armor_profile and context.app_armor_profile.type == "Unconfined" for context in contexts
    ):
        found.append('securityContext.appArmorProfile.type="Unconfined"')
    if found:
        yield f"forbidden AppArmor {'profile' if len(found) == 1 else 'profiles'} ({', '.join(found)})"


def host_process(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    contexts = [spec.security_context, *(container.security_context for container in containers(spec))]
    if any(context and context.windows_options and context.windows_options.host_process for context in contexts):
        yield "hostProcess (pod or containers must not set securityContext.windowsOptions.hostProcess=true)"


def may_escalate(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    if is_windows(spec):
        return
    names = unless(spec, lambda context: context.allow_privilege_escalation is False)
    if names:
        said = "must set securityContext.allowPrivilegeEscalation=false"
        yield f"allowPrivilegeEscalation != false ({where(names, said)})"


def unless(spec: PodSpec, right: Callable[[Any], bool]) -> list[str]:
    """The containers whose security context does not say what it should."""
    return [c.name for c in containers(spec) if c.security_context is None or not right(c.security_context)]


def unrestricted_capabilities(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    if is_windows(spec):
        return
    keeping = unless(spec, lambda context: "ALL" in ((context.capabilities and context.capabilities.drop) or ()))
    adding, found = added_capabilities(spec, {"NET_BIND_SERVICE"})
    parts = []
    if keeping:
        parts.append(where(keeping, 'must set securityContext.capabilities.drop=["ALL"]'))
    if adding:
        parts.append(where(adding, f"must not include {quoted(found)} in securityContext.capabilities.add"))
    if parts:
        yield f"unrestricted capabilities ({'; '.join(parts)})"


def other_volumes(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    found: dict[str, str] = {}
    for volume in spec.volumes or ():
        kinds = {f for f in volume.__struct_fields__ if f != "name" and getattr(volume, f) is not None}
        if kinds - VOLUMES:
            found[volume.name] = camel(sorted(kinds - VOLUMES)[0])
    if found:
        kinds_text = quoted(sorted(set(found.values())))
        said = "uses restricted volume type" if len(found) == 1 else "use restricted volume types"
        yield f"restricted volume types ({'volume' if len(found) == 1 else 'volumes'} {quoted(found)} {said} {kinds_text})"


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def may_be_root(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    if in_user_namespace(spec):
        return
    pod = spec.security_context.run_as_non_root if spec.security_context else None
    explicit = those(spec, lambda context: context.run_as_non_root is False)
    silent = [] if pod else unless(spec, lambda context: context.run_as_non_root is not None)
    if pod is False:
        yield "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"
    elif explicit:
        yield f"runAsNonRoot != true ({where(explicit, 'must not set securityContext.runAsNonRoot=false')})"
    elif silent:
        said = where(silent, "must set securityContext.runAsNonRoot=true")
        yield f"runAsNonRoot != true (pod or {said})"


def is_root(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    if in_user_namespace(spec):
        return
    found = those(spec, lambda context: context.run_as_user == 0)
    parts = ["pod"] if spec.security_context and spec.security_context.run_as_user == 0 else []
    parts += [where(found, "")[:-1]] if found else []
    if parts:
        yield f"runAsUser=0 ({' and '.join(parts)} must not set runAsUser=0)"


def no_seccomp(spec: PodSpec, _: Mapping[str, str]) -> Iterator[str]:
    if is_windows(spec):
        return
    pod = spec.security_context.seccomp_profile if spec.security_context else None
    covered = pod is not None and pod.type in SECCOMP

    def is_right(context: Any) -> bool:
        profile = context.seccomp_profile
        return covered if profile is None else profile.type in SECCOMP

    names = [c.name for c in containers(spec) if not (is_right(c.security_context) if c.security_context else covered)]
    if names:
        said = where(names, 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"')
        yield f"seccompProfile (pod or {said})"


BASELINE: tuple[Check, ...] = (
    apparmor, more_capabilities, host_namespaces, host_paths, host_ports, host_process, other_hosts, privileged,
    proc_mounts_by_root, selinux, unconfined_seccomp, sysctls,
)  # fmt: skip
RESTRICTED: tuple[Check, ...] = (
    apparmor, host_namespaces, host_ports, host_process, other_hosts, privileged, proc_mounts, selinux, sysctls,
    may_escalate, unrestricted_capabilities, other_volumes, may_be_root, is_root, no_seccomp,
)  # fmt: skip
