"""The Container Runtime Interface, as values: what a kubelet asks of a runtime, named as in CRI v1.

One sandbox holds the namespaces that containers share; containers run in it. `native` (the warden), `remote`
(containerd, CRI-O) and `simulated` implement `Runtime`, so a kubelet cannot tell them apart.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol


class NamespaceMode(Enum):
    POD = "pod"
    CONTAINER = "container"
    NODE = "node"
    TARGET = "target"


class SandboxState(Enum):
    READY = "ready"
    NOT_READY = "not-ready"


class ContainerState(Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Propagation(Enum):
    PRIVATE = "private"
    HOST_TO_CONTAINER = "host-to-container"
    BIDIRECTIONAL = "bidirectional"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""
    """The container whose PID namespace is joined when `pid` is TARGET."""
    user_namespace: "IdMapping | None" = None


@dataclass(frozen=True, slots=True)
class IdMapping:
    """Ids 0..length-1 of the container are host_id..host_id+length-1 of the host."""

    host_id: int
    length: int


@dataclass(frozen=True, slots=True)
class SecurityProfile:
    """`type` is RuntimeDefault, Unconfined or Localhost; `localhost_ref` the absolute path of the profile."""

    type: str = "RuntimeDefault"
    localhost_ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMetadata:
    name: str
    namespace: str
    uid: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DNSConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    protocol: str = "TCP"
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandboxConfig:
    metadata: SandboxMetadata
    hostname: str = ""
    log_directory: str = ""
    dns: DNSConfig | None = None
    """None keeps the host's resolv.conf."""
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    """Relative to the cgroup root of each hierarchy, made by the caller: `/kybern/pods/burstable/pod<uid>`."""
    namespaces: NamespaceOptions = field(default_factory=NamespaceOptions)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    privileged: bool = False
    runtime_handler: str = ""
    """Empty for the native runtime; else `crun`, `runc`, `runsc`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMetadata:
    name: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    container_path: str
    host_path: str = ""
    readonly: bool = False
    recursive_read_only: bool = False
    propagation: Propagation = Propagation.PRIVATE
    image: str = ""
    """The id of an image to mount instead of `host_path`."""
    image_sub_path: str = ""
    """The directory of that image to mount; empty for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    container_path: str
    host_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxResources:
    """Zero means no limit (or the kernel's default)."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_bytes: int = 0
    memory_reservation_bytes: int = 0
    oom_score_adj: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    hugepage_limits: Mapping[str, int] = field(default_factory=dict)
    unified: Mapping[str, str] = field(default_factory=dict)


def updated(old: LinuxResources, new: LinuxResources) -> LinuxResources:
    """What an update leaves: what is zero in it stays as it was."""
    return replace(old, **{name: getattr(new, name) for name in old.__slots__ if getattr(new, name)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    privileged: bool = False
    add_capabilities: tuple[str, ...] = ()
    """Without `CAP_`; `ALL` allowed."""
    drop_capabilities: tuple[str, ...] = ()
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str = "Merge"
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    seccomp: SecurityProfile = field(default_factory=SecurityProfile)
    apparmor: SecurityProfile = field(default_factory=lambda: SecurityProfile("Unconfined"))
    masked_paths: tuple[str, ...] | None = None
    """None for the default set; empty for `procMount: Unmasked`."""
    readonly_paths: tuple[str, ...] | None = None
    namespaces: NamespaceOptions = field(default_factory=NamespaceOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    metadata: ContainerMetadata
    image: str
    """The image's id as `pull_image` or `image_status` returned it."""
    user_specified_image: str = ""
    command: tuple[str, ...] = ()
    """Replaces the image's ENTRYPOINT."""
    args: tuple[str, ...] = ()
    """Replaces the image's CMD."""
    working_dir: str = ""
    envs: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    """By their full names: `vendor.com/class=name`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    """Relative to the sandbox's log_directory: `web/0.log`."""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    stop_signal: str = ""
    resources: LinuxResources = field(default_factory=LinuxResources)
    security: SecurityContext = field(default_factory=SecurityContext)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus:
    id: str
    config: PodSandboxConfig
    state: SandboxState
    created_at: float
    """Seconds since 1970."""
    ips: tuple[str, ...] = ()
    """Empty with the host's network."""
    network_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    id: str
    sandbox_id: str
    metadata: ContainerMetadata
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: ContainerState
    created_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    """128 + n when it was ended by signal n."""
    signal: int = 0
    reason: str = ""
    """`Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`; empty while it runs."""
    message: str = ""
    image: str = ""
    """The name it was asked for by."""
    image_id: str = ""
    log_path: str = ""
    """Absolute."""
    pid: int = 0
    resources: LinuxResources | None = None
    user: tuple[int, int, tuple[int, ...]] | None = None
    """uid, gid, supplemental groups of its first process."""
    stop_signal: str = ""
    """The one that ends it: `SIGTERM`."""
    mounts: tuple[Mount, ...] = ()
    """As it was asked for; upstream's kubelets find a container's last words by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    id: str
    """`sha256:...` of its configuration."""
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size_bytes: int = 0
    uid: int | None = None
    username: str = ""
    """The image's USER: one of the two."""
    volumes: tuple[str, ...] = ()
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStats:
    id: str
    cpu_usage_core_ns: int
    memory_working_set_bytes: int
    memory_usage_bytes: int
    rootfs_used_bytes: int = 0
    rootfs_inodes: int = 0
    memory_rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    pids: int = 0


class RuntimeFault(Exception):
    """A runtime could not do what was asked. `reason` is what the pod shows.

    `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`, `RegistryUnavailable`, `CreateContainerError`,
    `RunContainerError`, `CreatePodSandboxError`, `NotFound`, `ExecError`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class ExecIO(Protocol):
    """The streams of a running exec or attach, seen from the caller."""

    async def read_stdout(self) -> bytes:
        """The next bytes; `b""` at the end. With a tty, everything comes here."""

    async def read_stderr(self) -> bytes: ...

    async def write_stdin(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit code, once it ended."""

    async def close(self) -> None:
        """Let go; an exec's process that still runs is killed, an attached container is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHandler:
    """What a RuntimeClass may name; the empty name is the default."""

    name: str
    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False


class Runtime(Protocol):
    """Every call may raise RuntimeFault. Stop and remove calls are idempotent."""

    async def version(self) -> tuple[str, str]:
        """Name and version: `kybern`, `0.1.0`."""

    async def handlers(self) -> Sequence[RuntimeHandler]: ...

    async def network_fault(self) -> str:
        """Why pods cannot be given a network; empty when they can."""

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str: ...

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Kill its containers and give its network back."""

    async def remove_pod_sandbox(self, sandbox_id: str) -> None: ...

    async def list_pod_sandboxes(self) -> Sequence[SandboxStatus]: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        """Send the stop signal, wait, kill. Returns when it has ended."""

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self) -> Sequence[ContainerStatus]: ...

    async def container_status(self, container_id: str) -> ContainerStatus: ...

    async def update_container_resources(self, container_id: str, resources: LinuxResources) -> None: ...

    async def reopen_container_log(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        """TimeoutError when it takes longer; its process is then dead."""

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> ExecIO: ...

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> ExecIO: ...

    async def port_forward(self, sandbox_id: str, port: int) -> tuple["ByteReader", "ByteWriter"]:
        """A connection to 127.0.0.1:port inside the sandbox's network. ConnectionError when nothing listens."""

    async def container_stats(self, container_id: str) -> ContainerStats: ...

    async def pull_image(self, image: str, auth: AuthConfig | None = None) -> str:
        """Returns the image's id."""

    async def image_status(self, image: str) -> Image | None:
        """By name, digest or id."""

    async def list_images(self) -> Sequence[Image]: ...

    async def remove_image(self, image: str) -> None: ...

    def events(self) -> AsyncIterator[str]:
        """The id of each container or sandbox whose state changed, as it happens: from this call on, not only from when
        the first is waited for."""

    async def close(self) -> None:
        """Let go of the runtime. Containers run on."""


class ByteReader(Protocol):
    async def read(self, bytes_max: int = 65536) -> bytes: ...


class ByteWriter(Protocol):
    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class PodNetwork(Protocol):
    """How a sandbox gets onto the network: what CNI's ADD and DEL do. Given to the runtime, implemented above it."""

    def fault(self) -> str:
        """Why nothing can be attached; empty when it can."""

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        """Wire the namespace up and return its addresses. Idempotent for one sandbox."""

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        """Give everything back; never fails because something is already gone."""
