"""What a kubelet runs with: its `/configz` tells a KubeletConfiguration of all that can be set here, its `/flagz` the rest."""

from typing import Any

from kybern.api.quantity import of_value
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.settings import UNITS
from kybern.kubelet.topology.alignment import NODES_MAX, TopologyPolicy
from kybern.kubelet.topology.machine import cpus_text
from kybern.kubelet.topology.settings import CPU_OPTIONS


def told(config: KubeletConfig) -> dict[str, Any]:
    soft = [threshold for threshold in config.eviction if threshold.grace_seconds]
    cpus, topology, protection, shutdown = config.cpus, config.topology, config.protection, config.shutdown
    found = {
        "port": config.port,
        "staticPodPath": config.static_pods_directory,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": list(config.cluster_dns),
        "nodeStatusUpdateFrequency": duration(config.heartbeat_seconds),
        "nodeStatusReportFrequency": duration(config.status_report_seconds),
        "imagePullCredentialsVerificationPolicy": config.pull_policy.name,
        "preloadedImagesVerificationAllowlist": list(config.pull_policy.allowed),
        "imageMinimumGCAge": duration(config.image_age_seconds_min),
        "imageMaximumGCAge": duration(config.image_age_seconds_max),
        "imageGCHighThresholdPercent": config.image_disk_high_percent,
        "imageGCLowThresholdPercent": config.image_disk_low_percent,
        "cgroupRoot": config.cgroup_root,
        "cpuManagerPolicy": "static" if cpus.static else "none",
        "cpuManagerPolicyOptions": {name: "true" for name, field in CPU_OPTIONS.items() if getattr(cpus, field)},
        "memoryManagerPolicy": "Static" if config.memory.static else "None",
        "topologyManagerPolicy": topology.name,
        "topologyManagerScope": topology.scope,
        "topologyManagerPolicyOptions": topology_options(topology),
        "runtimeRequestTimeout": duration(config.request_seconds),
        "maxPods": config.pods_max,
        "podPidsLimit": config.pids_max or -1,
        "resolvConf": config.resolv_conf,
        "evictionHard": {t.signal: t.amount for t in config.eviction if not t.grace_seconds},
        "evictionSoft": {t.signal: t.amount for t in soft},
        "evictionSoftGracePeriod": {t.signal: duration(t.grace_seconds) for t in soft},
        "evictionPressureTransitionPeriod": duration(config.pressure_seconds),
        "evictionMaxPodGracePeriod": int(config.soft_grace_seconds_max),
        "evictionMinimumReclaim": {t.signal: t.reclaim for t in config.eviction if t.reclaim},
        "featureGates": {"MemoryQoS": True} if protection.throttles else {},
        "failSwapOn": config.refuses_swap,
        "memorySwap": {"swapBehavior": "LimitedSwap" if protection.swaps else "NoSwap"},
        "containerLogMaxSize": of_value(config.log_bytes_max, "binary"),
        "containerLogMaxFiles": config.log_files_max,
        "enableSystemLogHandler": config.serves_system_logs,
        "systemReserved": dict(config.reserved),
        "reservedSystemCPUs": cpus_text(cpus.reserved_cpus),
        "memoryThrottlingFactor": protection.throttling_factor,
        "memoryReservationPolicy": "TieredReservation" if protection.tiered else "None",
        "singleProcessOOMKill": protection.kills_one,
        "shutdownGracePeriod": duration(shutdown.whole_seconds),
        "shutdownGracePeriodCriticalPods": duration(shutdown.critical_seconds),
        "shutdownGracePeriodByPodPriority": [
            {"priority": priority, "shutdownGracePeriodSeconds": int(seconds)}
            for priority, seconds in shutdown.priorities
        ],
        "crashLoopBackOff": {"maxContainerRestartPeriod": duration(config.crash_seconds_max)},
        "allowedUnsafeSysctls": list(config.unsafe_sysctls),
        "reservedMemory": [
            {"numaNode": node, "limits": {kind: str(of_value(size, "binary")) for kind, size in kinds.items()}}
            for node, kinds in config.memory.reserved.items()
        ],
    }
    return {name: value for name, value in found.items() if value not in ({}, [], "")}


def flags(config: KubeletConfig) -> dict[str, str]:
    """What upstream's kubelet is told by flags alone."""
    return {
        "hostname-override": config.node_name,
        "node-ip": ",".join(config.node_ips),
        "node-labels": ",".join(f"{name}={value}" for name, value in config.node_labels.items()),
        "root-dir": config.data_directory,
    }


def topology_options(policy: TopologyPolicy) -> dict[str, str]:
    closest = {"prefer-closest-numa-nodes": "true"} if policy.closest else {}
    return closest | ({"max-allowable-numa-nodes": str(policy.nodes_max)} if policy.nodes_max != NODES_MAX else {})


def duration(seconds: float) -> str:
    """As Go writes it: `1m30s`."""
    rest, written = round(seconds * 1000), ""
    for unit in ("h", "m"):
        size = round(UNITS[unit] * 1000)
        whole, rest = divmod(rest, size)
        written += f"{whole}{unit}" if whole or written else ""
    return f"{written}{rest / 1000:g}s"
