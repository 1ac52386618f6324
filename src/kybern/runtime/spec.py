"""From CRI's values to an OCI runtime spec: what a container is to be, for the warden, crun, runc or runsc alike.

Pure. Two things the warden needs beyond OCI are in `process.user`: a `username` that it resolves inside the container,
and the policy for supplemental groups.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kybern.linux.seccomp_default import default_profile
from kybern.runtime.cri import (
    ContainerConfig,
    LinuxResources,
    Mount,
    NamespaceMode,
    PodSandboxConfig,
    Propagation,
    RuntimeFault,
    SecurityContext,
)

DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
TERMINAL_GROUP = 5
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
DEVICE_RULES = (
    ("c", None, None, "m"), ("b", None, None, "m"), *(("c", major, minor, "rwm") for _, major, minor in NODES),
    ("c", 5, 1, "rwm"), ("c", 136, None, "rwm"), ("c", 5, 2, "rwm"), ("c", 10, 200, "rwm"),
)  # fmt: skip

PROPAGATION = {
    Propagation.PRIVATE: "rprivate",
    Propagation.HOST_TO_CONTAINER: "rslave",
    Propagation.BIDIRECTIONAL: "rshared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDefaults:
    """What an image says about how it is run."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageLayers:
    """An image that is mounted as a volume: the topmost layer first, and what of them is not shown."""

    layers: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the container finds: its sandbox's namespaces and files, and the machine's limits."""

    sandbox: PodSandboxConfig
    cgroup: str
    network_path: str = ""
    ipc_path: str = ""
    uts_path: str = ""
    pid_path: str = ""
    """Of the namespace to join; empty for a new one, or for the host's where `host_pid`."""
    shm_path: str = ""
    resolv_conf: str = ""
    capabilities: frozenset[str] = frozenset()
    """What this machine can give at all."""
    host_devices: tuple[Mapping[str, Any], ...] = ()
    """Every device of the machine, for privileged containers."""
    volume_mounts: tuple[tuple[str, str], ...] = ()
    """(host path, container path) of the image's anonymous volumes."""
    image_mounts: Mapping[str, ImageLayers] = field(default_factory=dict)
    """By image id."""
    user_path: str = ""
    """Of the user namespace; empty for the host's."""
    seccomp: Mapping[str, Any] | None = None
    """The decoded Localhost profile."""


def arguments(config: ContainerConfig, image: ImageDefaults) -> list[str]:
    """As docker: a command of one's own replaces the image's both, arguments only its CMD."""
    if config.command:
        return [*config.command, *config.args]
    found = [*image.entrypoint, *(config.args or image.cmd)]
    if not found:
        raise RuntimeFault("CreateContainerError", "no command specified")
    return found


def environment(config: ContainerConfig, image: ImageDefaults) -> list[str]:
    merged = {name: value for name, _, value in (entry.partition("=") for entry in image.env)}
    merged.setdefault("PATH", DEFAULT_PATH)
    if config.tty:
        merged.setdefault("TERM", "xterm")
    merged |= dict(config.envs)
    return [f"{name}={value}" for name, value in merged.items()]


def capabilities(security: SecurityContext, available: frozenset[str]) -> list[str]:
    """The container's set, without `CAP_`. ALL is what the machine can give."""
    if security.privileged:
        return sorted(available)
    add = {name.upper().removeprefix("CAP_") for name in security.add_capabilities}
    drop = {name.upper().removeprefix("CAP_") for name in security.drop_capabilities}
    found = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES)
    found |= available if "ALL" in add else add
    return sorted((found - (drop - add)) & available)


def container_spec(config: ContainerConfig, image: ImageDefaults, around: Surroundings) -> dict[str, Any]:
    security = config.security
    held = capabilities(security, around.capabilities)
    masked = MASKED_PATHS if security.masked_paths is None else security.masked_paths
    readonly = READONLY_PATHS if security.readonly_paths is None else security.readonly_paths
    return {
        "ociVersion": "1.2.0",
        "hostname": around.sandbox.hostname,
        "root": {"path": "rootfs", "readonly": security.readonly_rootfs},
        "process": {
            "terminal": config.tty,
            "user": user(security, image),
            "args": arguments(config, image),
            "env": environment(config, image),
            "cwd": config.working_dir or image.working_dir or "/",
            "capabilities": {kind: [f"CAP_{name}" for name in held] for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": security.no_new_privs and not security.privileged,
            "oomScoreAdj": config.resources.oom_score_adj,
            "apparmorProfile": "" if security.privileged else security.apparmor.localhost_ref,
        },
        "mounts": standard_mounts(config, around) + asked_mounts(config.mounts, around),
        "linux": {
            "namespaces": namespaces(config, around),
            **id_mappings(around),
            "cgroupsPath": around.cgroup,
            "resources": {"devices": device_rules(config, around)},
            "devices": devices(config, around),
            "maskedPaths": [] if security.privileged else list(masked),
            "readonlyPaths": [] if security.privileged else list(readonly),
            "seccomp": seccomp(security, held, around),
        },
    }


def user(security: SecurityContext, image: ImageDefaults) -> dict[str, Any]:
    """The security context's user, else the image's."""
    found: dict[str, Any] = {
        "additionalGids": list(security.supplemental_groups),
        "policy": security.supplemental_groups_policy,
    }
    if security.run_as_user is not None:
        found["uid"] = security.run_as_user
    elif security.run_as_username or image.user:
        found["username"] = security.run_as_username or image.user
    if security.run_as_group is not None:
        found["gid"] = security.run_as_group
    return found


def seccomp(security: SecurityContext, held: Sequence[str], around: Surroundings) -> Mapping[str, Any] | None:
    if security.privileged or security.seccomp.type == "Unconfined":
        return None
    if security.seccomp.type == "RuntimeDefault":
        return default_profile(held)
    if around.seccomp is None:
        raise RuntimeFault("CreateContainerError", f"cannot load seccomp profile {security.seccomp.localhost_ref!r}")
    return around.seccomp


def namespaces(config: ContainerConfig, around: Surroundings) -> list[dict[str, str]]:
    """The sandbox's network, IPC and UTS are joined; the host's are left out of the list."""
    found = [{"type": "mount"}]
    if not config.security.privileged:
        found.append({"type": "cgroup"})
    for kind, path in (
        ("user", around.user_path),
        ("network", around.network_path),
        ("ipc", around.ipc_path),
        ("uts", around.uts_path),
    ):
        if path:
            found.append({"type": kind, "path": path})
    if around.pid_path:
        found.append({"type": "pid", "path": around.pid_path})
    elif config.security.namespaces.pid != NamespaceMode.NODE:
        found.append({"type": "pid"})
    return found


def id_mappings(around: Surroundings) -> dict[str, Any]:
    mapping = around.sandbox.namespaces.user_namespace
    if mapping is None:
        return {}
    ids = [{"containerID": 0, "hostID": mapping.host_id, "size": mapping.length}]
    return {"uidMappings": ids, "gidMappings": ids}


def standard_mounts(config: ContainerConfig, around: Surroundings) -> list[dict[str, Any]]:
    taken = {mount.container_path.rstrip("/") for mount in config.mounts}
    access = "rw" if config.security.privileged else "ro"
    safe = ["nosuid", "noexec", "nodev"]
    terminals = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        f"gid={TERMINAL_GROUP + host_id(around)}",
    ]
    found = [
        _mount("/proc", "proc", safe),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", terminals),
        _mount("/dev/mqueue", "mqueue", safe),
        _mount("/sys", "sysfs", [*safe, access]),
    ]
    if around.shm_path:
        found.append(_bind(around.shm_path, "/dev/shm", ["rbind", "nosuid", "noexec", "nodev"]))
    if around.resolv_conf:
        access = "ro" if config.security.readonly_rootfs else "rw"
        found.append(_bind(around.resolv_conf, "/etc/resolv.conf", ["rbind", "rprivate", access]))
    found += [_bind(host, inside, ["rbind", "rprivate", "rw"]) for host, inside in around.volume_mounts]
    return [mount for mount in found if not _is_taken(mount["destination"], taken)]


def _is_taken(destination: str, taken: Collection[str]) -> bool:
    """As containerd: who brings a /dev has all that is in it too."""
    return destination in taken or (destination.startswith("/dev/") and "/dev" in taken)


def host_id(around: Surroundings) -> int:
    """What the container's user 0 is on the machine."""
    mapping = around.sandbox.namespaces.user_namespace
    return mapping.host_id if mapping is not None else 0


def asked_mounts(mounts: Sequence[Mount], around: Surroundings) -> list[dict[str, Any]]:
    """Outer paths first, so that a mount may lie in another one."""
    ordered = sorted(mounts, key=lambda mount: mount.container_path.rstrip("/").count("/"))
    return [_asked(mount, around) for mount in ordered]


def _asked(mount: Mount, around: Surroundings) -> dict[str, Any]:
    if mount.image:
        return _image(around.image_mounts[mount.image], mount)
    options = ["rbind", PROPAGATION[mount.propagation], "ro" if mount.readonly else "rw"]
    if mount.recursive_read_only:
        options.append("rro")
    return _bind(mount.host_path, mount.container_path, options)


def _image(image: ImageLayers, mount: Mount) -> dict[str, Any]:
    """Not OCI: its layers are put together by whoever mounts them."""
    return {
        "destination": mount.container_path,
        "type": "image",
        "source": mount.image,
        "options": ["ro", "nosuid", "nodev"],
        "layers": list(image.layers),
        "hidden": list(image.hidden),
        "subPath": mount.image_sub_path,
    }


def _mount(destination: str, fstype: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": fstype, "source": fstype, "options": options}


def _bind(source: str, destination: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def devices(config: ContainerConfig, around: Surroundings) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        f"/dev/{name}": {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
        for name, major, minor in NODES
    }
    for device in around.host_devices:
        found.setdefault(device["path"], dict(device))
    return list(found.values())


def device_rules(config: ContainerConfig, around: Surroundings) -> list[dict[str, Any]]:
    if config.security.privileged:
        return [{"allow": True, "type": "a", "access": "rwm"}]
    rules = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
        for kind, major, minor, access in DEVICE_RULES
    ]
    permissions = {device.container_path: device.permissions for device in config.devices}
    rules += [
        {
            "allow": True,
            "type": device["type"],
            "major": device["major"],
            "minor": device["minor"],
            "access": permissions.get(device["path"], "rwm"),
        }
        for device in around.host_devices
    ]
    return rules


def limits(resources: LinuxResources) -> dict[str, Any]:
    """For the warden: `linux.cgroups.Limits` by name."""
    return {
        "cpu_period": resources.cpu_period,
        "cpu_quota": resources.cpu_quota,
        "cpu_shares": resources.cpu_shares,
        "memory_limit_bytes": resources.memory_limit_bytes,
        "memory_reservation_bytes": resources.memory_reservation_bytes,
        "cpuset_cpus": resources.cpuset_cpus,
        "cpuset_mems": resources.cpuset_mems,
        "pids_limit": resources.pids_limit,
        "hugepage_limits": dict(resources.hugepage_limits),
        "unified": dict(resources.unified),
    }


def exec_spec(spec: Mapping[str, Any], command: Sequence[str], *, tty: bool) -> dict[str, Any]:
    """One more process like the container's first."""
    process = dict(spec["process"]) | {"args": list(command), "terminal": tty}
    if tty and not any(entry.startswith("TERM=") for entry in process["env"]):
        process["env"] = [*process["env"], "TERM=xterm"]
    kept = {name: spec["linux"][name] for name in ("seccomp", "uidMappings", "gidMappings") if name in spec["linux"]}
    return {"process": process, "linux": {"namespaces": [], **kept}}
