"""The configuration of a container, from its pod and what was prepared for it. Nothing here reads or writes anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kybern.api.core_v1 import Container, EphemeralContainer, Pod, VolumeMount
from kybern.kubelet.devices.gate import Gift
from kybern.kubelet.env_files import ConfigFault
from kybern.kubelet.expansion import expand, expand_strictly
from kybern.kubelet.observed import (
    CONTAINER_HASH,
    CONTAINER_NAME,
    GRACE_PERIOD,
    MESSAGE_FILE,
    MESSAGE_PATH,
    MESSAGE_POLICY,
    RESTART_COUNT,
)
from kybern.kubelet.resources import linux_resources
from kybern.kubelet.sandbox_config import grace_of, pod_labels
from kybern.kubelet.security import security_context
from kybern.runtime import cri
from kybern.volumes.paths import single

HOSTS = "/etc/hosts"
PROPAGATION = {
    "None": cri.Propagation.PRIVATE,
    "HostToContainer": cri.Propagation.HOST_TO_CONTAINER,
    "Bidirectional": cri.Propagation.BIDIRECTIONAL,
}

AnyContainer = Container | EphemeralContainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a container gets that is not in its pod."""

    attempt: int
    image: cri.Image
    environment: Mapping[str, str]
    mounts: tuple[cri.Mount, ...] = ()
    message_file: str = ""
    """On the node; empty for none."""
    target_id: str = ""
    memory_capacity_bytes: int = 0
    page_sizes: tuple[str, ...] = ()
    """Of the huge pages that the machine has."""
    seccomp_directory: str = ""
    cpus: str = ""
    """The ones it may use; empty for all."""
    memory_nodes: str = ""
    """Likewise, NUMA nodes."""
    memory_files: Mapping[str, str] = field(default_factory=dict)
    """Of its cgroup, besides the limits."""
    cdi_devices: tuple[str, ...] = ()
    gift: Gift = field(default_factory=Gift)
    """For its devices."""


def container_config(pod: Pod, container: AnyContainer, prepared: Prepared) -> cri.ContainerConfig:
    variables = prepared.environment
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container.name, attempt=prepared.attempt),
        image=prepared.image.id,
        user_specified_image=container.image or "",
        command=tuple(expand(word, variables) for word in container.command or ()),
        args=tuple(expand(word, variables) for word in container.args or ()),
        working_dir=container.working_dir or "",
        envs=tuple({**prepared.gift.envs, **variables}.items()),
        mounts=(*prepared.mounts, *prepared.gift.mounts, *_message_mount(container, prepared)),
        devices=prepared.gift.devices,
        cdi_devices=(*prepared.gift.cdi_devices, *prepared.cdi_devices),
        labels={**pod_labels(pod), CONTAINER_NAME: container.name},
        annotations=_annotations(pod, container, prepared),
        log_path=f"{single(container.name)}/{prepared.attempt}.log",
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdin_once),
        tty=bool(container.tty),
        stop_signal=(container.lifecycle.stop_signal if container.lifecycle else None) or "",
        resources=replace(
            linux_resources(pod, container, prepared.memory_capacity_bytes, prepared.page_sizes),
            cpuset_cpus=prepared.cpus,
            cpuset_mems=prepared.memory_nodes,
            unified=prepared.memory_files,
        ),
        security=security_context(pod, container, prepared.image, prepared.seccomp_directory, prepared.target_id),
    )


def _annotations(pod: Pod, container: AnyContainer, prepared: Prepared) -> Mapping[str, str]:
    return {
        **prepared.gift.annotations,
        CONTAINER_HASH: container.image or "",
        RESTART_COUNT: str(prepared.attempt),
        GRACE_PERIOD: str(grace_of(pod)),
        MESSAGE_PATH: container.termination_message_path or "",
        MESSAGE_POLICY: container.termination_message_policy or "File",
        MESSAGE_FILE: prepared.message_file,
    }


def _message_mount(container: AnyContainer, prepared: Prepared) -> tuple[cri.Mount, ...]:
    path = container.termination_message_path
    return (cri.Mount(container_path=path, host_path=prepared.message_file),) if path and prepared.message_file else ()


def sub_path_of(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    """The path inside the volume; empty for all of it. ConfigFault where it leads out of it."""
    path = mount.sub_path or ""
    if mount.sub_path_expr:
        try:
            path = expand_strictly(mount.sub_path_expr, variables)
        except LookupError as missing:
            raise ConfigFault(f"failed to expand subPathExpr {mount.sub_path_expr!r}: {missing.args[0]}") from None
    if path.startswith("/"):
        raise ConfigFault(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigFault(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path


def volume_mount(mount: VolumeMount, host_path: str, must_be_readonly: bool = False) -> cri.Mount:
    path = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
    return cri.Mount(
        container_path=path,
        host_path=host_path,
        readonly=bool(mount.read_only) or must_be_readonly,
        recursive_read_only=mount.recursive_read_only in ("Enabled", "IfPossible"),
        propagation=PROPAGATION[mount.mount_propagation or "None"],
    )


def mounts_own_hosts(container: AnyContainer) -> bool:
    return any(mount.mount_path == HOSTS for mount in container.volume_mounts or ())


def find(pod: Pod, name: str) -> AnyContainer | None:
    """The container of that name, of whatever kind."""
    every: tuple[AnyContainer, ...] = (
        *pod.spec.containers,
        *(pod.spec.init_containers or ()),
        *(pod.spec.ephemeral_containers or ()),
    )
    return next((container for container in every if container.name == name), None)


def field_path(pod: Pod, name: str) -> str:
    """How events name the container: `spec.containers{web}`."""
    if any(container.name == name for container in pod.spec.containers):
        return f"spec.containers{{{name}}}"
    if any(container.name == name for container in pod.spec.init_containers or ()):
        return f"spec.initContainers{{{name}}}"
    return f"spec.ephemeralContainers{{{name}}}"
