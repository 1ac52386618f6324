"""Security contexts of pods and containers: ids in range, profiles complete, no contradiction."""

import re
from collections.abc import Iterator

from kybern.api.core_v1 import AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_long
from kybern.api.numbers import INT32_MAX
from kybern.registry.checks import between, relative_path
from kybern.registry.podspec.windows import validate_windows_options

PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
APP_ARMOR_PROFILE_MAX = 4095
SYSCTL_LENGTH_MAX = 253
SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SYSCTL = rf"({SYSCTL_SEGMENT}[\./])*{SYSCTL_SEGMENT}"
SYSCTL_PATTERN = re.compile(SYSCTL)
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
}  # fmt: skip
"""Those that harm nobody but the pod that sets them."""


def validate_id(value: int | None, at: str) -> Iterator[FieldError]:
    if value is not None and not 0 <= value <= INT32_MAX:
        yield invalid_value(at, value, between(0, INT32_MAX))


def validate_container_security(context: SecurityContext, own_users: bool, at: str) -> Iterator[FieldError]:
    yield from validate_id(context.run_as_user, f"{at}.runAsUser")
    yield from validate_id(context.run_as_group, f"{at}.runAsGroup")
    if context.proc_mount is not None and context.proc_mount not in ("Default", "Unmasked"):
        yield not_supported(f"{at}.procMount", context.proc_mount, ("Default", "Unmasked"))
    if context.proc_mount == "Unmasked" and not own_users:
        yield invalid_value(f"{at}.procMount", context.proc_mount, "`hostUsers` must be false to use `Unmasked`")
    if context.seccomp_profile is not None:
        yield from validate_seccomp(context.seccomp_profile, f"{at}.seccompProfile")
    if context.allow_privilege_escalation is False:
        if context.privileged:
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid_value(at, context, why)
        if context.capabilities is not None and "CAP_SYS_ADMIN" in (context.capabilities.add or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid_value(at, context, why)
    yield from validate_of_both(context, at)


def validate_of_both(context: SecurityContext | PodSecurityContext, at: str) -> Iterator[FieldError]:
    if context.windows_options is not None:
        yield from validate_windows_options(context.windows_options, f"{at}.windowsOptions")
    if context.app_armor_profile is not None:
        yield from validate_app_armor(context.app_armor_profile, f"{at}.appArmorProfile")


def validate_pod_security(context: PodSecurityContext, spec: PodSpec, at: str) -> Iterator[FieldError]:
    yield from validate_id(context.run_as_user, f"{at}.runAsUser")
    yield from validate_id(context.run_as_group, f"{at}.runAsGroup")
    yield from validate_id(context.fs_group, f"{at}.fsGroup")
    for index, group in enumerate(context.supplemental_groups or ()):
        yield from validate_id(group, f"{at}.supplementalGroups[{index}]")
    for field, choice, choices in (
        ("fsGroupChangePolicy", context.fs_group_change_policy, ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", context.supplemental_groups_policy, ("Merge", "Strict")),
        ("seLinuxChangePolicy", context.se_linux_change_policy, ("MountOption", "Recursive")),
    ):
        if choice is not None and choice not in choices:
            yield not_supported(f"{at}.{field}", choice, choices)
    if context.seccomp_profile is not None:
        yield from validate_seccomp(context.seccomp_profile, f"{at}.seccompProfile")
    yield from validate_of_both(context, at)
    if spec.share_process_namespace and spec.host_pid:
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{at}.shareProcessNamespace", spec.share_process_namespace, why)
    if context.sysctls:
        yield from validate_sysctls(context, spec, f"{at}.sysctls")


def validate_sysctls(context: PodSecurityContext, spec: PodSpec, at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, sysctl in enumerate(context.sysctls or ()):
        here = f"{at}[{index}].name"
        if not sysctl.name:
            yield required(here)
        elif len(sysctl.name) > SYSCTL_LENGTH_MAX or not SYSCTL_PATTERN.fullmatch(sysctl.name):
            why = f"must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^{SYSCTL}$"
            yield invalid_value(here, sysctl.name, why)
        elif sysctl.name in seen:
            yield duplicate(here, sysctl.name)
        seen.add(sysctl.name)
        dotted = sysctl.name.replace("/", ".")
        if spec.host_network and dotted.startswith("net."):
            yield invalid_value(here, sysctl.name, "may not be specified when 'hostNetwork' is true")
        if spec.host_ipc and dotted.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")):
            yield invalid_value(here, sysctl.name, "may not be specified when 'hostIPC' is true")


def validate_seccomp(profile: SeccompProfile, at: str) -> Iterator[FieldError]:
    if not profile.type:
        yield required(f"{at}.type", "type is required when seccompProfile is set")
    elif profile.type not in PROFILE_TYPES:
        yield not_supported(f"{at}.type", profile.type, PROFILE_TYPES)
    if profile.type == "Localhost":
        if profile.localhost_profile is None:
            yield required(f"{at}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from relative_path(f"{at}.localhostProfile", profile.localhost_profile)
    elif profile.localhost_profile is not None:
        yield invalid_value(f"{at}.localhostProfile", profile, "can only be set when seccomp type is Localhost")


def validate_app_armor(profile: AppArmorProfile, at: str) -> Iterator[FieldError]:
    local = profile.localhost_profile
    if profile.type == "Localhost":
        if local is not None and local != local.strip():
            yield invalid_value(f"{at}.localhostProfile", local, "must not be padded with whitespace")
        elif not local:
            yield required(f"{at}.localhostProfile", "must be set when AppArmor type is Localhost")
        if local is not None and len(local) > APP_ARMOR_PROFILE_MAX:
            yield too_long(f"{at}.localhostProfile", "", APP_ARMOR_PROFILE_MAX)
    elif not profile.type:
        yield required(f"{at}.type", "type is required when appArmorProfile is set")
    elif profile.type not in PROFILE_TYPES:
        yield not_supported(f"{at}.type", profile.type, PROFILE_TYPES)
    elif local is not None:
        yield invalid_value(f"{at}.localhostProfile", local, "can only be set when AppArmor type is Localhost")
