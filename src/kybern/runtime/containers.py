"""A container's record on disk, and how CRI sees it.

data/containers/<id>/config.json   what it is to be: the agent's
                     state.json    how it is: the warden's
                     upper, work   its writable layer
                     rootfs        empty; where the warden mounts its root, unseen by anyone else
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kybern.linux.cgroups import Usage
from kybern.runtime import disk
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    LinuxResources,
    RuntimeFault,
    updated,
)
from kybern.runtime.disk_usage import Used


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    id: str
    sandbox_id: str
    config: ContainerConfig
    image_id: str
    created_at: float
    log_path: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    """OCI."""


class ContainerRecords:
    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "containers"
        self.by_id: dict[str, ContainerRecord] = {}
        self.states: dict[str, Mapping[str, Any]] = {}
        """What the warden last said."""

    def load(self) -> None:
        for identifier in disk.names(self.directory):
            record = disk.load(self.directory / identifier / disk.RECORD, ContainerRecord)
            if record is not None:
                self.by_id[identifier] = record

    def get(self, identifier: str) -> ContainerRecord:
        found = self.by_id.get(identifier)
        if found is None:
            raise RuntimeFault("NotFound", f"container {identifier!r} not found")
        return found

    def save(self, record: ContainerRecord) -> None:
        disk.save(self.path(record.id) / disk.RECORD, record)
        self.by_id[record.id] = record

    def path(self, identifier: str) -> Path:
        return self.directory / identifier

    def make_writable_layer(self, identifier: str) -> None:
        for name, mode in (("upper", 0o755), ("work", 0o700), ("rootfs", 0o700)):
            (self.path(identifier) / name).mkdir(mode=mode, parents=True, exist_ok=True)
        (self.path(identifier) / "upper").chmod(0o755)

    def forget(self, identifier: str) -> None:
        self.by_id.pop(identifier, None)
        self.states.pop(identifier, None)
        disk.remove(self.path(identifier))

    def of_sandbox(self, sandbox_id: str) -> list[ContainerRecord]:
        return [record for record in self.by_id.values() if record.sandbox_id == sandbox_id]

    def running(self, identifier: str) -> bool:
        return self.states.get(identifier, {}).get("status") == "running"

    def unstarted(self, identifier: str) -> bool:
        """Made, and neither running nor ended as far as the warden has said."""
        return identifier in self.by_id and "status" not in self.states.get(identifier, {})

    def status(self, identifier: str) -> ContainerStatus:
        record = self.get(identifier)
        state = self.states.get(identifier, {})
        user = state.get("user")
        return ContainerStatus(
            id=record.id,
            sandbox_id=record.sandbox_id,
            metadata=record.config.metadata,
            labels=record.config.labels,
            annotations=record.config.annotations,
            state=state_of(state),
            created_at=record.created_at,
            started_at=state.get("started_at", 0.0),
            finished_at=state.get("finished_at", 0.0),
            exit_code=state.get("exit_code", 0),
            signal=state.get("signal", 0),
            reason=state.get("reason", ""),
            message=state.get("message", ""),
            image=record.config.user_specified_image or record.config.image,
            image_id=record.image_id,
            log_path=record.log_path,
            pid=state.get("pid", 0) if state.get("status") == "running" else 0,
            resources=record.config.resources,
            user=(user[0], user[1], tuple(user[2])) if user else None,
            stop_signal=record.config.stop_signal,
            mounts=record.config.mounts,
        )


def state_of(state: Mapping[str, Any]) -> ContainerState:
    match state.get("status"):
        case "running":
            return ContainerState.RUNNING
        case "exited":
            return ContainerState.EXITED
    return ContainerState.CREATED


def stats_of(identifier: str, usage: Usage, written: Used) -> ContainerStats:
    """`written`: to its writable layer."""
    return ContainerStats(
        id=identifier,
        rootfs_used_bytes=written.bytes,
        rootfs_inodes=written.inodes,
        cpu_usage_core_ns=usage.cpu_ns,
        memory_working_set_bytes=usage.working_set_bytes,
        memory_usage_bytes=usage.memory_bytes,
        pids=usage.pids,
        memory_rss_bytes=usage.rss_bytes,
        page_faults=usage.page_faults,
        major_page_faults=usage.major_page_faults,
    )


def with_resources(record: ContainerRecord, resources: LinuxResources) -> ContainerRecord:
    """The same container under other limits."""
    return replace(record, config=replace(record.config, resources=updated(record.config.resources, resources)))
