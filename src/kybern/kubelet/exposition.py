"""What Prometheus reads: `/metrics`, `/metrics/resource`, `/metrics/cadvisor`, `/metrics/probes` and `/metrics/slis`, upstream's names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kybern.kubelet.machine import cpu_nanoseconds, memory_bytes, own_usage
from kybern.kubelet.summary import network_of
from kybern.kubelet.usage import ContainerUsage, Measured
from kybern.kubelet.worker import PodWorker
from kybern.runtime.cri import ContainerStatus

TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED = ("_total", "_sum", "_count")
HEALTH_CHECKS = ("ping", "log", "syncloop")
ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    value: float
    labels: Mapping[str, str] | None = None


def text_of(samples: Iterable[Sample], now: float | None = None) -> str:
    """Sorted by name, as the format wants it; `now` in seconds dates each of them."""
    stamp = f" {round(now * 1000)}" if now is not None else ""
    lines: list[str] = []
    last = ""
    for sample in sorted(samples, key=lambda each: each.name):
        if sample.name != last:
            kind = "counter" if sample.name.endswith(COUNTED) else "gauge"
            lines.append(f"# TYPE {sample.name} {kind}")
            last = sample.name
        labels = ",".join(f'{key}="{text.translate(ESCAPED)}"' for key, text in (sample.labels or {}).items())
        lines.append(f"{sample.name}{f'{{{labels}}}' if labels else ''} {sample.value:.12g}{stamp}")
    return "\n".join(lines) + "\n"


def resource_samples(measured: Sequence[Measured], memory_used: int) -> Iterator[Sample]:
    """For metrics-server."""
    for pod in measured:
        named = _pod_labels(pod)
        for usage in pod.containers:
            labels = {"container": usage.status.metadata.name, **named}
            yield Sample("container_cpu_usage_seconds_total", usage.stats.cpu_usage_core_ns / 1e9, labels)
            yield Sample("container_memory_working_set_bytes", usage.stats.memory_working_set_bytes, labels)
            yield Sample("container_start_time_seconds", usage.status.started_at, labels)
        cpu = sum(usage.stats.cpu_usage_core_ns for usage in pod.containers)
        memory = sum(usage.stats.memory_working_set_bytes for usage in pod.containers)
        yield Sample("pod_cpu_usage_seconds_total", cpu / 1e9, named)
        yield Sample("pod_memory_working_set_bytes", memory, named)
    yield Sample("node_cpu_usage_seconds_total", cpu_nanoseconds() / 1e9)
    yield Sample("node_memory_working_set_bytes", memory_used)
    yield Sample("scrape_error", 0)
    yield Sample("resource_scrape_error", 0)


def cadvisor_samples(measured: Sequence[Measured], cores: int) -> Iterator[Sample]:
    yield Sample("machine_cpu_cores", cores)
    yield Sample("machine_memory_bytes", memory_bytes())
    for pod in measured:
        for usage in pod.containers:
            yield from _container_samples(usage, _pod_labels(pod))
        for interface, traffic in network_of(pod).items():
            labels = {"interface": interface, **_pod_labels(pod)}
            yield Sample("container_network_receive_bytes_total", traffic.received, labels)
            yield Sample("container_network_receive_errors_total", traffic.receive_errors, labels)
            yield Sample("container_network_transmit_bytes_total", traffic.sent, labels)
            yield Sample("container_network_transmit_errors_total", traffic.send_errors, labels)


def _container_samples(usage: ContainerUsage, pod: Mapping[str, str]) -> Iterator[Sample]:
    status, stats, limits = usage.status, usage.stats, usage.status.resources
    identity = {"id": status.id, "image": status.image, "name": status.id}
    labels = {"container": status.metadata.name, **identity, **pod}
    found = {
        "container_cpu_usage_seconds_total": stats.cpu_usage_core_ns / 1e9,
        "container_memory_usage_bytes": stats.memory_usage_bytes,
        "container_memory_working_set_bytes": stats.memory_working_set_bytes,
        "container_memory_rss": stats.memory_rss_bytes,
        "container_fs_usage_bytes": stats.rootfs_used_bytes,
        "container_processes": stats.pids,
        "container_start_time_seconds": status.started_at,
    }
    if limits is not None:
        found |= {
            "container_spec_cpu_period": limits.cpu_period,
            "container_spec_cpu_shares": limits.cpu_shares,
            "container_spec_memory_limit_bytes": max(limits.memory_limit_bytes, 0),
        }
        if limits.cpu_quota > 0:
            found["container_spec_cpu_quota"] = limits.cpu_quota
    for name, value in found.items():
        yield Sample(name, value, labels)


def probe_samples(workers: Iterable[PodWorker]) -> Iterator[Sample]:
    for worker in workers:
        meta = worker.pod.metadata
        pod = {"namespace": meta.namespace or "", "pod": meta.name or "", "pod_uid": worker.uid}
        for (container, kind, result), count in worker.prober.counts.items():
            yield Sample(
                "prober_probe_total", count, {"container": container, "probe_type": kind, "result": result, **pod}
            )


def health_samples(checked: Mapping[str, int]) -> Iterator[Sample]:
    """As upstream's components tell how reliable they are."""
    for name, count in checked.items():
        yield Sample("kubernetes_healthcheck", 1, {"name": name, "type": "healthz"})
        yield Sample("kubernetes_healthchecks_total", count, {"name": name, "status": "success", "type": "healthz"})


def own_samples(
    node_name: str, workers: Sequence[PodWorker], containers: Iterable[ContainerStatus]
) -> Iterator[Sample]:
    """The kubelet about itself."""
    states = Counter(status.state.value for status in containers)
    yield Sample("kubelet_node_name", 1, {"node": node_name})
    yield Sample("kubelet_running_pods", sum(bool(worker.observed.ready_sandbox) for worker in workers))
    yield Sample("kubelet_desired_pods", len(workers))
    for state, count in states.items():
        yield Sample("kubelet_running_containers", count, {"container_state": state})
    seconds, memory = own_usage()
    yield Sample("process_cpu_seconds_total", seconds)
    yield Sample("process_resident_memory_bytes", memory)


def _pod_labels(measured: Measured) -> dict[str, str]:
    meta = measured.pod.metadata
    return {"namespace": meta.namespace or "", "pod": meta.name or ""}
