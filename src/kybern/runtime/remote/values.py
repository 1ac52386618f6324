"""The values of `runtime.cri` as messages of CRI v1."""

from collections.abc import Mapping
from typing import Any

from kybern.runtime import cri
from kybern.runtime.cri import IdMapping, NamespaceMode, Propagation
from kybern.runtime.remote.mapping import (
    AMOUNT,
    MANY,
    SAME,
    SECONDS,
    TEXTS,
    WRAPPED,
    Field,
    Kind,
    Table,
    many,
    nested,
    one_of,
)
from kybern.runtime.remote.messages import SIGNALS, message
from kybern.runtime.spec import MASKED_PATHS, READONLY_PATHS

MODES = (NamespaceMode.POD, NamespaceMode.CONTAINER, NamespaceMode.NODE, NamespaceMode.TARGET)
PROPAGATIONS = (Propagation.PRIVATE, Propagation.HOST_TO_CONTAINER, Propagation.BIDIRECTIONAL)
PROFILES = ("RuntimeDefault", "Unconfined", "Localhost")
PROTOCOLS = ("TCP", "UDP", "SCTP")
GROUP_POLICIES = ("Merge", "Strict")
SANDBOX_STATES = (cri.SandboxState.READY, cri.SandboxState.NOT_READY)
CONTAINER_STATES = (
    cri.ContainerState.CREATED,
    cri.ContainerState.RUNNING,
    cri.ContainerState.EXITED,
    cri.ContainerState.UNKNOWN,
)
MODE = one_of(MODES)
SANDBOX_STATE = one_of(SANDBOX_STATES)
CONTAINER_STATE = one_of(CONTAINER_STATES, unknown=cri.ContainerState.UNKNOWN)
SIGNAL = Kind(lambda name: SIGNALS.index(name) if name in SIGNALS else 0, lambda number: SIGNALS[number])


def same_names(type_: type[Any], *names: str) -> Table:
    return Table(type_, tuple(Field(name, SAME) for name in names))


def id_mappings(mapping: IdMapping) -> list[dict[str, int]]:
    return [{"host_id": mapping.host_id, "container_id": 0, "length": mapping.length}]


def _user_namespace_out(mapping: IdMapping | None) -> dict[str, Any]:
    if mapping is None:
        return {"mode": MODES.index(NamespaceMode.NODE)}
    return {"mode": MODES.index(NamespaceMode.POD), "uids": id_mappings(mapping), "gids": id_mappings(mapping)}


def _user_namespace_back(found: Any) -> IdMapping | None:
    if found.mode not in (MODES.index(NamespaceMode.POD), MODES.index(NamespaceMode.NODE)):
        raise ValueError("a user namespace is the pod's or the node's")
    if MODES[found.mode] is NamespaceMode.NODE or not found.uids:
        return None
    if len(found.uids) > 1 or found.uids[0].container_id or list(found.uids) != list(found.gids):
        raise ValueError("a user namespace is one range of ids from 0, the same for users and groups")
    return IdMapping(found.uids[0].host_id, found.uids[0].length)


def paths(default: tuple[str, ...]) -> Kind:
    return Kind(lambda value: list(default if value is None else value), tuple)


def _envs_out(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in pairs]


def _hugepages_out(limits: Mapping[str, int]) -> list[dict[str, Any]]:
    """A size is `2Mi` here and `2MB` there."""
    return [{"page_size": f"{size.removesuffix('i')}B", "limit": limit} for size, limit in limits.items()]


def _hugepages_back(found: Any) -> dict[str, int]:
    return {f"{each.page_size.removesuffix('B')}i": each.limit for each in found}


def _user_out(user: tuple[int, int, tuple[int, ...]] | None) -> dict[str, Any] | None:
    return None if user is None else {"uid": user[0], "gid": user[1], "supplemental_groups": list(user[2])}


def _user_back(found: Any) -> tuple[int, int, tuple[int, ...]]:
    return found.uid, found.gid, tuple(found.supplemental_groups)


PROFILE = Table(cri.SecurityProfile, (Field("type", one_of(PROFILES), "profile_type"), Field("localhost_ref", SAME)))
NAMESPACES = Table(
    cri.NamespaceOptions,
    (
        Field("network", MODE),
        Field("pid", MODE),
        Field("ipc", MODE),
        Field("target_id", SAME),
        Field("user_namespace", Kind(_user_namespace_out, _user_namespace_back, optional=True), "userns_options"),
    ),
)
PORT = Table(
    cri.PortMapping,
    (
        Field("protocol", one_of(PROTOCOLS)),
        Field("container_port", SAME),
        Field("host_port", SAME),
        Field("host_ip", SAME),
    ),
)
SANDBOX_METADATA = same_names(cri.SandboxMetadata, "name", "namespace", "uid", "attempt")
SANDBOX_CONFIG = Table(
    cri.PodSandboxConfig,
    (
        Field("metadata", nested(SANDBOX_METADATA)),
        Field("hostname", SAME),
        Field("log_directory", SAME),
        Field(
            "dns",
            nested(
                Table(cri.DNSConfig, tuple(Field(n, MANY) for n in ("servers", "searches", "options"))), optional=True
            ),
            "dns_config",
        ),
        Field("port_mappings", many(PORT)),
        Field("labels", TEXTS),
        Field("annotations", TEXTS),
        Field("cgroup_parent", SAME, "linux.cgroup_parent"),
        Field("sysctls", TEXTS, "linux.sysctls"),
        Field("namespaces", nested(NAMESPACES), "linux.security_context.namespace_options"),
        Field("privileged", SAME, "linux.security_context.privileged"),
    ),
    {"linux.security_context.seccomp": {"profile_type": PROFILES.index("RuntimeDefault")}},
)
RESOURCES = Table(
    cri.LinuxResources,
    (
        *(Field(name, SAME) for name in ("cpu_period", "cpu_quota", "cpu_shares", "oom_score_adj")),
        *(Field(name, SAME) for name in ("cpuset_cpus", "cpuset_mems")),
        Field("memory_limit_bytes", SAME, "memory_limit_in_bytes"),
        Field("hugepage_limits", Kind(_hugepages_out, _hugepages_back)),
        Field("unified", TEXTS),
    ),
)
SECURITY = Table(
    cri.SecurityContext,
    (
        Field("privileged", SAME),
        Field("add_capabilities", MANY, "capabilities.add_capabilities"),
        Field("drop_capabilities", MANY, "capabilities.drop_capabilities"),
        Field("run_as_user", WRAPPED),
        Field("run_as_username", SAME),
        Field("run_as_group", WRAPPED),
        Field("supplemental_groups", MANY),
        Field("supplemental_groups_policy", one_of(GROUP_POLICIES)),
        Field("readonly_rootfs", SAME),
        Field("no_new_privs", SAME),
        Field("seccomp", nested(PROFILE)),
        Field("apparmor", nested(PROFILE)),
        Field("masked_paths", paths(MASKED_PATHS)),
        Field("readonly_paths", paths(READONLY_PATHS)),
        Field("namespaces", nested(NAMESPACES), "namespace_options"),
    ),
)
MOUNT = Table(
    cri.Mount,
    (
        *(Field(name, SAME) for name in ("container_path", "host_path", "readonly", "recursive_read_only")),
        Field("propagation", one_of(PROPAGATIONS)),
        Field("image", Kind(lambda image: {"image": image} if image else None, lambda found: found.image)),
        Field("image_sub_path", SAME),
    ),
)
CONTAINER_METADATA = same_names(cri.ContainerMetadata, "name", "attempt")
CONTAINER_CONFIG = Table(
    cri.ContainerConfig,
    (
        Field("metadata", nested(CONTAINER_METADATA)),
        Field("image", SAME, "image.image"),
        Field("user_specified_image", SAME, "image.user_specified_image"),
        Field("command", MANY),
        Field("args", MANY),
        Field("working_dir", SAME),
        Field("envs", Kind(_envs_out, lambda found: tuple((each.key, each.value) for each in found))),
        Field("mounts", many(MOUNT)),
        Field("devices", many(same_names(cri.Device, "container_path", "host_path", "permissions"))),
        Field(
            "cdi_devices",
            Kind(lambda names: [{"name": name} for name in names], lambda found: tuple(each.name for each in found)),
            "CDI_devices",
        ),
        Field("labels", TEXTS),
        Field("annotations", TEXTS),
        *(Field(name, SAME) for name in ("log_path", "stdin", "stdin_once", "tty")),
        Field("stop_signal", SIGNAL),
        Field("resources", nested(RESOURCES), "linux.resources"),
        Field("security", nested(SECURITY), "linux.security_context"),
    ),
)
IMAGE = Table(
    cri.Image,
    (
        Field("id", SAME),
        Field("repo_tags", MANY),
        Field("repo_digests", MANY),
        Field("size_bytes", SAME, "size"),
        Field("uid", WRAPPED),
        Field("username", SAME),
        Field("pinned", SAME),
    ),
)
AUTH = same_names(cri.AuthConfig, "username", "password", "identity_token", "registry_token")
STATS = Table(
    cri.ContainerStats,
    (
        Field("id", SAME, "attributes.id"),
        Field("cpu_usage_core_ns", AMOUNT, "cpu.usage_core_nano_seconds"),
        Field("memory_working_set_bytes", AMOUNT, "memory.working_set_bytes"),
        Field("memory_usage_bytes", AMOUNT, "memory.usage_bytes"),
        Field("memory_rss_bytes", AMOUNT, "memory.rss_bytes"),
        Field("page_faults", AMOUNT, "memory.page_faults"),
        Field("major_page_faults", AMOUNT, "memory.major_page_faults"),
        Field("rootfs_used_bytes", AMOUNT, "writable_layer.used_bytes"),
        Field("rootfs_inodes", AMOUNT, "writable_layer.inodes_used"),
    ),
)
CONTAINER_STATUS = Table(
    cri.ContainerStatus,
    (
        Field("id", SAME),
        Field("metadata", nested(CONTAINER_METADATA)),
        Field("labels", TEXTS),
        Field("annotations", TEXTS),
        Field("state", CONTAINER_STATE),
        *(Field(name, SECONDS) for name in ("created_at", "started_at", "finished_at")),
        *(Field(name, SAME) for name in ("exit_code", "reason", "message", "log_path")),
        Field("image", SAME, "image.image"),
        Field("image_id", SAME),
        Field("resources", nested(RESOURCES, optional=True), "resources.linux"),
        Field("user", Kind(_user_out, _user_back, optional=True), "user.linux"),
        Field("mounts", many(MOUNT)),
    ),
)
"""Its sandbox is not in it."""


def name_profiles(context: Any) -> None:
    """What older kubelets say of profiles by a path alone is said in the message as newer ones do.

    Who says nothing of seccomp at all, as some tools do, asks for none: so upstream's runtimes take it.
    """
    if context.apparmor_profile and not context.HasField("apparmor"):
        context.apparmor.CopyFrom(_profile(context.apparmor_profile))
    if not context.HasField("seccomp"):
        context.seccomp.CopyFrom(_profile(context.seccomp_profile_path or "unconfined"))


def _profile(path: str) -> Any:
    """Of `unconfined`, `localhost/PATH`, `runtime/default` or docker's name for that."""
    kind, _, rest = path.partition("/")
    if kind == "localhost":
        return message("SecurityProfile", profile_type=PROFILES.index("Localhost"), localhost_ref=rest)
    return message(
        "SecurityProfile", profile_type=PROFILES.index("Unconfined" if path == "unconfined" else PROFILES[0])
    )


def labels_match(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())
