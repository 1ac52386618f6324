"""`/stats/summary`: what the node and its pods use, in upstream's shape."""

from collections.abc import Iterable, Sequence
from typing import Any

from kybern.aio.clock import Clock, rfc3339
from kybern.kubelet.eviction.thresholds import MEMORY, PIDS
from kybern.kubelet.machine import Traffic, cpu_nanoseconds, file_system, memory_bytes, network_bytes, observe_machine
from kybern.kubelet.parts import Parts
from kybern.kubelet.usage import ContainerUsage, Measured

WINDOW_SECONDS = 10.0
DEFAULT_INTERFACE = "eth0"

Part = dict[str, Any]


class Rates:
    """CPU in use now, from what had been used some time ago."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._before: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, int] = {}

    def of(self, key: str, used_ns: int) -> int | None:
        """Nanocores; None until there is something to compare with."""
        now = self.clock.monotonic()
        at, before = self._before.setdefault(key, (now, used_ns))
        if now - at >= WINDOW_SECONDS:
            self._rates[key] = round(max(used_ns - before, 0) / (now - at))
            self._before[key] = (now, used_ns)
        return self._rates.get(key)

    def keep(self, keys: Iterable[str]) -> None:
        """Forget the others."""
        wanted = set(keys)
        self._before = {key: seen for key, seen in self._before.items() if key in wanted}
        self._rates = {key: rate for key, rate in self._rates.items() if key in wanted}


class Summary:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.rates = Rates(parts.clock)

    def of(self, measured: Sequence[Measured]) -> Part:
        now = rfc3339(self.parts.clock.wall())
        pods = [self._pod(each, now) for each in measured]
        self.rates.keep({"node", *(key for each in measured for key in _keys(each))})
        return {"node": self._node(now), "pods": pods}

    def _node(self, now: str) -> Part:
        observed = observe_machine(self.parts.config.data_directory)
        memory, pids = observed[MEMORY], observed.get(PIDS)
        found: Part = {
            "nodeName": self.parts.config.node_name,
            "cpu": self._cpu("node", cpu_nanoseconds(), now),
            "memory": {
                "time": now,
                "availableBytes": memory.available,
                "usageBytes": memory_bytes() - memory.available,
                "workingSetBytes": memory_bytes() - memory.available,
            },
            "fs": self._file_system(now),
            "runtime": {"imageFs": self._file_system(now), "containerFs": self._file_system(now)},
            "network": {"time": now, **_network(network_bytes())},
        }
        if pids is not None:
            found["rlimit"] = {"time": now, "maxpid": pids.capacity, "curproc": pids.capacity - pids.available}
        return found

    def _file_system(self, now: str, used: int | None = None, inodes: int | None = None) -> Part:
        """The one that everything lies on; `used`: how much of it is somebody's."""
        about = file_system(self.parts.config.data_directory)
        capacity, free = about.f_blocks * about.f_frsize, about.f_bavail * about.f_frsize
        return {
            "time": now,
            "availableBytes": free,
            "capacityBytes": capacity,
            "usedBytes": capacity - about.f_bfree * about.f_frsize if used is None else used,
            "inodes": about.f_files,
            "inodesFree": about.f_favail,
            "inodesUsed": about.f_files - about.f_ffree if inodes is None else inodes,
        }

    def _pod(self, measured: Measured, now: str) -> Part:
        meta = measured.pod.metadata
        containers = [self._container(each, now) for each in measured.containers]
        volumes = [
            {"name": name, **self._file_system(now, used.bytes, used.inodes)}
            for name, used in measured.empty_dirs.items()
        ]
        disk = sum(each.disk_bytes for each in measured.containers) + sum(u.bytes for u in measured.empty_dirs.values())
        inodes = sum(c.stats.rootfs_inodes for c in measured.containers)
        found: Part = {
            "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "startTime": measured.pod.status.start_time or now,
            "containers": containers,
            "cpu": self._cpu(meta.uid or "", sum(c.stats.cpu_usage_core_ns for c in measured.containers), now),
            "memory": _memory(measured.containers, now),
            "process_stats": {"process_count": sum(c.stats.pids for c in measured.containers)},
            "ephemeral-storage": self._file_system(now, disk, inodes),
        }
        if volumes:
            found["volume"] = volumes
        traffic = network_of(measured)
        if traffic:
            found["network"] = {"time": now, **_network(traffic)}
        return found

    def _container(self, usage: ContainerUsage, now: str) -> Part:
        return {
            "name": usage.status.metadata.name,
            "startTime": rfc3339(usage.status.started_at),
            "cpu": self._cpu(usage.status.id, usage.stats.cpu_usage_core_ns, now),
            "memory": _memory([usage], now),
            "rootfs": self._file_system(now, usage.stats.rootfs_used_bytes, usage.stats.rootfs_inodes),
            "logs": self._file_system(now, usage.log_bytes, 1),
        }

    def _cpu(self, key: str, used_ns: int, now: str) -> Part:
        rate = self.rates.of(key, used_ns)
        found = {"time": now, "usageCoreNanoSeconds": used_ns}
        return found if rate is None else found | {"usageNanoCores": rate}


def _keys(measured: Measured) -> list[str]:
    return [measured.pod.metadata.uid or "", *(each.status.id for each in measured.containers)]


def network_of(measured: Measured) -> dict[str, Traffic]:
    """Of the pod; nothing where it shares the node's."""
    pid = next((each.status.pid for each in measured.containers if each.status.pid), 0)
    return network_bytes(pid) if pid and not measured.pod.spec.host_network else {}


def _memory(containers: Sequence[ContainerUsage], now: str) -> Part:
    limits = [c.status.resources.memory_limit_bytes if c.status.resources else 0 for c in containers]
    working_set = sum(c.stats.memory_working_set_bytes for c in containers)
    found = {
        "time": now,
        "usageBytes": sum(c.stats.memory_usage_bytes for c in containers),
        "workingSetBytes": working_set,
        "rssBytes": sum(c.stats.memory_rss_bytes for c in containers),
        "pageFaults": sum(c.stats.page_faults for c in containers),
        "majorPageFaults": sum(c.stats.major_page_faults for c in containers),
    }
    if limits and all(limit > 0 for limit in limits):
        found["availableBytes"] = max(sum(limits) - working_set, 0)
    return found


def _network(traffic: dict[str, Traffic]) -> Part:
    interfaces = [
        {
            "name": name,
            "rxBytes": seen.received,
            "rxErrors": seen.receive_errors,
            "txBytes": seen.sent,
            "txErrors": seen.send_errors,
        }
        for name, seen in traffic.items()
    ]
    main = next((each for each in interfaces if each["name"] == DEFAULT_INTERFACE), {})
    return {**main, "interfaces": interfaces}
