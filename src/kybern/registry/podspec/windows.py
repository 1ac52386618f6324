"""Windows pods: stored and judged as upstream does, though no node of ours runs one."""

import re
from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import (
    Container,
    EphemeralContainer,
    PodSecurityContext,
    PodSpec,
    SecurityContext,
    WindowsSecurityContextOptions,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value

CREDENTIAL_SPEC_KIB_MAX = 64
DOMAIN_LENGTH_MAX = 256
USER_LENGTH_MAX = 104
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
DNS_DOMAIN = re.compile(rf"{DNS_LABEL}(?:\.{DNS_LABEL})*")
NOT_IN_A_NAME = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
NOT_FOR_PODS = (
    ("appArmorProfile", "app_armor_profile"), ("seLinuxOptions", "se_linux_options"),
    ("seccompProfile", "seccomp_profile"), ("fsGroup", "fs_group"), ("fsGroupChangePolicy", "fs_group_change_policy"),
    ("sysctls", "sysctls"), ("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group"),
    ("supplementalGroups", "supplemental_groups"), ("supplementalGroupsPolicy", "supplemental_groups_policy"),
    ("seLinuxChangePolicy", "se_linux_change_policy"),
)  # fmt: skip
NOT_FOR_CONTAINERS = (
    ("appArmorProfile", "app_armor_profile"), ("seLinuxOptions", "se_linux_options"),
    ("seccompProfile", "seccomp_profile"), ("capabilities", "capabilities"),
    ("readOnlyRootFilesystem", "read_only_root_filesystem"), ("privileged", "privileged"),
    ("allowPrivilegeEscalation", "allow_privilege_escalation"), ("procMount", "proc_mount"),
    ("runAsUser", "run_as_user"), ("runAsGroup", "run_as_group"),
)  # fmt: skip

Contained = Container | EphemeralContainer


def containers_of(spec: PodSpec, at: str) -> Iterator[tuple[Contained, str]]:
    """Every container and where it is, in upstream's order."""
    lists: tuple[tuple[str, tuple[Contained, ...]], ...] = (
        ("initContainers", spec.init_containers or ()),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers or ()),
    )
    for field, containers in lists:
        for index, container in enumerate(containers):
            yield container, f"{at}.{field}[{index}]"


def validate_linux(spec: PodSpec, at: str) -> Iterator[FieldError]:
    places: list[tuple[PodSecurityContext | SecurityContext | None, str]] = [(spec.security_context, at)]
    places += [(container.security_context, here) for container, here in containers_of(spec, at)]
    for context, here in places:
        if context is not None and context.windows_options is not None:
            why = "windows options cannot be set for a linux pod"
            yield forbidden_field(f"{here}.securityContext.windowsOptions", why)


def validate_windows(spec: PodSpec, at: str) -> Iterator[FieldError]:
    why = "cannot be set for a windows pod"
    if spec.host_users is not None:
        yield forbidden_field(f"{at}.hostUsers", why)
    for field, value in (("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)):
        if value:
            yield forbidden_field(f"{at}.{field}", why)
    if spec.share_process_namespace is not None:
        yield forbidden_field(f"{at}.shareProcessNamespace", why)
    for field, name in NOT_FOR_PODS:
        if spec.security_context is not None and getattr(spec.security_context, name) is not None:
            yield forbidden_field(f"{at}.securityContext.{field}", why)
    for container, here in containers_of(spec, at):
        for field, name in NOT_FOR_CONTAINERS:
            if container.security_context is not None and getattr(container.security_context, name) is not None:
                yield forbidden_field(f"{here}.securityContext.{field}", why)


def validate_host_process(spec: PodSpec, at: str) -> Iterator[FieldError]:
    """Containers that are processes of the host: all of a pod's, or none."""
    whole = host_process(spec.security_context)
    found = [(host_process(container.security_context), here) for container, here in containers_of(spec, at)]
    for own, here in found:
        if whole is not None and own is not None and own != whole:
            why = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            yield invalid_value(f"{here}.securityContext.windowsOptions.hostProcess", own, why)
    count = sum(1 for own, _ in found if (whole if own is None else own))
    if count and count != len(found):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        yield invalid_value(at, "", why)
    if count and not spec.host_network:
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        yield invalid_value(f"{at}.hostNetwork", False, why)


def host_process(context: PodSecurityContext | SecurityContext | None) -> bool | None:
    options = context.windows_options if context is not None else None
    return options.host_process if options is not None else None


def validate_windows_options(options: WindowsSecurityContextOptions, at: str) -> Iterator[FieldError]:
    name, text, user = options.gmsa_credential_spec_name, options.gmsa_credential_spec, options.run_as_user_name
    for wrong in names.dns1123_subdomain(name) if name is not None else ():
        yield invalid_value(f"{at}.gmsaCredentialSpecName", name, wrong)
    if text == "":
        yield invalid_value(f"{at}.gmsaCredentialSpec", text, "gmsaCredentialSpec cannot be an empty string")
    elif text is not None and len(text) > CREDENTIAL_SPEC_KIB_MAX * 1024:
        why = f"gmsaCredentialSpec size must be under {CREDENTIAL_SPEC_KIB_MAX} KiB"
        yield invalid_value(f"{at}.gmsaCredentialSpec", text, why)
    if user is not None:
        for wrong in wrong_with_user(user):
            yield invalid_value(f"{at}.runAsUserName", user, f"runAsUserName{wrong}")


def wrong_with_user(text: str) -> Iterator[str]:
    """What is wrong with `DOMAIN\\user`, where the domain may be left out."""
    domain, backslash, user = text.rpartition("\\")
    if not text:
        yield " cannot be an empty string"
    elif CONTROL.search(text):
        yield " cannot contain control characters"
    elif "\\" in domain:
        yield " cannot contain more than one backslash"
    else:
        if len(domain) >= DOMAIN_LENGTH_MAX:
            yield f"'s Domain length must be under {DOMAIN_LENGTH_MAX} characters"
        if backslash and not (NETBIOS.fullmatch(domain) or DNS_DOMAIN.fullmatch(domain)):
            yield "'s Domain doesn't match the NetBios nor the DNS format"
        if not user:
            yield "'s User cannot be empty"
        elif len(user) > USER_LENGTH_MAX:
            yield f"'s User length must not be longer than {USER_LENGTH_MAX} characters"
        if user and not user.strip(". "):
            yield "'s User cannot contain only periods or spaces"
        if NOT_IN_A_NAME.search(user):
            yield "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
