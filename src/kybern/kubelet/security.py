"""The security context of a container: its own over the pod's over the defaults, which are the safe ones.

`RuntimeDefault` is the seccomp profile of everything that does not ask for another and is not privileged.
"""

from kybern.api.core_v1 import (
    AppArmorProfile,
    Container,
    EphemeralContainer,
    Pod,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
)
from kybern.kubelet.env_files import ConfigFault
from kybern.runtime import cri


def security_context(
    pod: Pod, container: Container | EphemeralContainer, image: cri.Image, seccomp_root: str, target_id: str = ""
) -> cri.SecurityContext:
    own = container.security_context or SecurityContext()
    shared = pod.spec.security_context or PodSecurityContext()
    user, group = _user(own, shared)
    _refuse_root(own, shared, image, user)
    capabilities = own.capabilities
    privileged = bool(own.privileged)
    unmasked = own.proc_mount == "Unmasked" or privileged
    return cri.SecurityContext(
        privileged=privileged,
        add_capabilities=tuple(map(_bare, (capabilities.add if capabilities else None) or ())),
        drop_capabilities=tuple(map(_bare, (capabilities.drop if capabilities else None) or ())),
        run_as_user=user if user is not None else image.uid,
        run_as_username="" if user is not None or image.uid is not None else image.username,
        run_as_group=group,
        supplemental_groups=_groups(shared),
        supplemental_groups_policy=shared.supplemental_groups_policy or "Merge",
        readonly_rootfs=bool(own.read_only_root_filesystem),
        no_new_privs=own.allow_privilege_escalation is False,
        seccomp=_seccomp(own.seccomp_profile or shared.seccomp_profile, privileged, seccomp_root),
        apparmor=_apparmor(own.app_armor_profile or shared.app_armor_profile, privileged),
        masked_paths=() if unmasked else None,
        readonly_paths=() if unmasked else None,
        namespaces=namespaces(pod, target_id),
    )


def _user(own: SecurityContext, shared: PodSecurityContext) -> tuple[int | None, int | None]:
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    return user, group


def _refuse_root(own: SecurityContext, shared: PodSecurityContext, image: cri.Image, user: int | None) -> None:
    """runAsNonRoot is a promise: root is refused, and so is a user whose id nobody knows."""
    non_root = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    if not non_root:
        return
    if user is not None:
        if user == 0:
            raise ConfigFault("container's runAsUser breaks non-root policy")
    elif image.uid == 0 or (image.uid is None and not image.username):
        raise ConfigFault("container has runAsNonRoot and image will run as root")
    elif image.uid is None:
        raise ConfigFault(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), cannot verify user is non-root"
        )


def _bare(capability: str) -> str:
    return capability.removeprefix("CAP_")


def _groups(shared: PodSecurityContext) -> tuple[int, ...]:
    fs_group = () if shared.fs_group is None else (shared.fs_group,)
    return tuple(dict.fromkeys((*(shared.supplemental_groups or ()), *fs_group)))


def _apparmor(profile: AppArmorProfile | None, privileged: bool) -> cri.SecurityProfile:
    """What the node cannot enforce it has refused before."""
    if profile is None or profile.type != "Localhost" or privileged:
        return cri.SecurityProfile("Unconfined")
    return cri.SecurityProfile("Localhost", profile.localhost_profile or "")


def _seccomp(profile: SeccompProfile | None, privileged: bool, root: str) -> cri.SecurityProfile:
    if privileged:
        return cri.SecurityProfile("Unconfined")
    if profile is None:
        return cri.SecurityProfile("RuntimeDefault")
    if profile.type != "Localhost":
        return cri.SecurityProfile(profile.type)
    name = profile.localhost_profile or ""
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ConfigFault(f"seccomp profile {name!r} is not a path below {root}")
    return cri.SecurityProfile("Localhost", f"{root}/{name}")


def namespaces(pod: Pod, target_id: str = "") -> cri.NamespaceOptions:
    pid = cri.NamespaceMode.CONTAINER
    if pod.spec.host_pid:
        pid = cri.NamespaceMode.NODE
    elif pod.spec.share_process_namespace:
        pid = cri.NamespaceMode.POD
    elif target_id:
        pid = cri.NamespaceMode.TARGET
    return cri.NamespaceOptions(
        network=cri.NamespaceMode.NODE if pod.spec.host_network else cri.NamespaceMode.POD,
        ipc=cri.NamespaceMode.NODE if pod.spec.host_ipc else cri.NamespaceMode.POD,
        pid=pid,
        target_id=target_id,
    )
