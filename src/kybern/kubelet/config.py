"""What a kubelet is told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kybern.kubelet.credential_providers import Provider
from kybern.kubelet.eviction.thresholds import HARD, Threshold
from kybern.kubelet.memory_protection import MemoryProtection
from kybern.kubelet.pull_records import PullPolicy
from kybern.kubelet.restarts import CRASH_MAX_SECONDS
from kybern.kubelet.shutdown import ShutdownPolicy
from kybern.kubelet.topology.alignment import TopologyPolicy
from kybern.kubelet.topology.cpus import CpuPolicy
from kybern.kubelet.topology.memory import MemoryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletConfig:
    node_name: str
    node_ips: tuple[str, ...] = ("10.244.0.1",)
    data_directory: str = "/var/lib/kybern"
    logs_directory: str = "/var/log/pods"
    cgroup_root: str = "/kybern/pods"
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    port: int = 10250
    pods_max: int = 110
    pids_max: int = 0
    """Of each pod; 0 for no limit."""
    cpus: CpuPolicy = field(default_factory=CpuPolicy)
    memory: MemoryPolicy = field(default_factory=MemoryPolicy)
    topology: TopologyPolicy = field(default_factory=TopologyPolicy)
    protection: MemoryProtection = field(default_factory=MemoryProtection)
    unsafe_sysctls: tuple[str, ...] = ()
    """Allowed besides the safe ones: by name, or as `kernel.msg*`."""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] | None = None
    """Said instead of measured: a simulated node."""
    provider_id: str = ""
    heartbeat_seconds: float = 10.0
    status_report_seconds: float = 300.0
    eviction: tuple[Threshold, ...] = HARD
    reserved: Mapping[str, str] = field(default_factory=dict)
    """Kept for what runs on the machine besides pods."""
    pressure_seconds: float = 300.0
    """A condition of the node is over only when it has not been met for this long."""
    soft_grace_seconds_max: float = 0.0
    """What a pod gets to end at the most where a soft threshold was met."""
    refuses_swap: bool = False
    """Upstream's default is True: a machine that only serves as a node has none. Others do."""
    shutdown: ShutdownPolicy = field(default_factory=ShutdownPolicy)
    request_seconds: float = 120.0
    """What the runtime, or a plugin of the network, may take for one request."""
    crash_seconds_max: float = CRASH_MAX_SECONDS
    """Between two starts of a container that keeps failing."""
    serves_system_logs: bool = True
    """Shows the machine's /var/log to whoever may."""
    log_bytes_max: int = 10 << 20
    log_files_max: int = 5
    image_age_seconds_min: float = 120.0
    image_age_seconds_max: float = 0.0
    """Unused for longer than this, an image goes whatever room there is; 0 for never."""
    image_disk_high_percent: int = 85
    image_disk_low_percent: int = 80
    pull_policy: PullPolicy = field(default_factory=PullPolicy)
    credential_providers: tuple[Provider, ...] = ()
    resolv_conf: str = "/etc/resolv.conf"
    hosts_file: str = "/etc/hosts"
    kernel_log: str = ""

    @property
    def pods_directory(self) -> str:
        return f"{self.data_directory}/pods"

    @property
    def plugins_directory(self) -> str:
        """Where plugins find the kubelet's sockets: `<this>/device-plugins/kubelet.sock`."""
        return f"{self.data_directory}/plugins"

    @property
    def static_pods_directory(self) -> str:
        return f"{self.data_directory}/manifests"

    @property
    def credential_programs_directory(self) -> str:
        return f"{self.data_directory}/credential-providers"

    @property
    def seccomp_directory(self) -> str:
        return f"{self.data_directory}/seccomp"
