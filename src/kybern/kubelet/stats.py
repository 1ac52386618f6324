"""What pods use, as `kubectl top` and monitoring read it: the summary API and `/metrics/resource`."""

from typing import Any

from kybern.aio.clock import rfc3339
from kybern.kubelet.observed import POD_NAME, POD_NAMESPACE, POD_UID
from kybern.kubelet.parts import Parts
from kybern.runtime.cri import ContainerState, ContainerStats, ContainerStatus, RuntimeFault

Measured = list[tuple[ContainerStatus, ContainerStats]]


async def measure(parts: Parts) -> Measured:
    """Every running container."""
    found: Measured = []
    for status in [c for observed in list(parts.pleg.every().values()) for c in observed.containers]:
        if status.state is ContainerState.RUNNING:
            try:
                found.append((status, await parts.runtime.container_stats(status.id)))
            except RuntimeFault:
                continue  # it has just ended
    return found


def summary(parts: Parts, measured: Measured) -> dict[str, Any]:
    now = rfc3339(parts.clock.wall())
    pods: dict[str, dict[str, Any]] = {}
    for status, stats in measured:
        labels = status.labels
        pod = pods.setdefault(
            labels[POD_UID],
            {
                "podRef": {"name": labels[POD_NAME], "namespace": labels[POD_NAMESPACE], "uid": labels[POD_UID]},
                "startTime": rfc3339(status.created_at),
                "containers": [],
            },
        )
        pod["containers"].append(
            {"name": status.metadata.name, "startTime": rfc3339(status.started_at), **_usage(stats, now)}
        )
    for pod in pods.values():
        pod |= _together(pod["containers"], now)
    node = {"nodeName": parts.config.node_name, **_together(list(pods.values()), now)}
    return {"node": node, "pods": list(pods.values())}


def _usage(stats: ContainerStats, now: str) -> dict[str, Any]:
    return {
        "cpu": {"time": now, "usageCoreNanoSeconds": stats.cpu_usage_core_ns},
        "memory": {
            "time": now,
            "usageBytes": stats.memory_usage_bytes,
            "workingSetBytes": stats.memory_working_set_bytes,
        },
        "rootfs": {"time": now, "usedBytes": stats.rootfs_used_bytes},
    }


def _together(parts: list[dict[str, Any]], now: str) -> dict[str, Any]:
    def total(kind: str, name: str) -> int:
        return sum(part[kind][name] for part in parts)

    return {
        "cpu": {"time": now, "usageCoreNanoSeconds": total("cpu", "usageCoreNanoSeconds")},
        "memory": {
            "time": now,
            "usageBytes": total("memory", "usageBytes"),
            "workingSetBytes": total("memory", "workingSetBytes"),
        },
    }


def exposition(measured: Measured, now: float) -> str:
    """Prometheus text, upstream's names."""
    lines = ["# TYPE container_cpu_usage_seconds_total counter"]
    stamp = round(now * 1000)
    for status, stats in measured:
        seconds = stats.cpu_usage_core_ns / 1e9
        lines.append(f"container_cpu_usage_seconds_total{_labels(status)} {seconds:.9g} {stamp}")
    lines.append("# TYPE container_memory_working_set_bytes gauge")
    for status, stats in measured:
        lines.append(f"container_memory_working_set_bytes{_labels(status)} {stats.memory_working_set_bytes} {stamp}")
    lines += ["# TYPE scrape_error gauge", "scrape_error 0", ""]
    return "\n".join(lines)


def _labels(status: ContainerStatus) -> str:
    labels = status.labels
    named = {"container": status.metadata.name, "namespace": labels[POD_NAMESPACE], "pod": labels[POD_NAME]}
    return "{" + ",".join(f'{key}="{text}"' for key, text in named.items()) + "}"
