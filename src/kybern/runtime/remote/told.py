"""What a runtime tells of its sandboxes and containers, as CRI's messages have it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kybern.runtime.cri import ContainerStats, ContainerStatus, Image, SandboxStatus
from kybern.runtime.remote import values
from kybern.runtime.remote.mapping import NANOSECONDS, to_fields


def sandbox(found: SandboxStatus) -> dict[str, Any]:
    """As it is listed."""
    return {
        "id": found.id,
        "metadata": to_fields(values.SANDBOX_METADATA, found.config.metadata),
        "state": values.SANDBOX_STATE.out(found.state),
        "created_at": round(found.created_at * NANOSECONDS),
        "labels": dict(found.config.labels),
        "annotations": dict(found.config.annotations),
        "runtime_handler": found.config.runtime_handler,
    }


def sandbox_status(found: SandboxStatus) -> dict[str, Any]:
    first, *others = found.ips or ("",)
    return {
        **sandbox(found),
        "network": {"ip": first, "additional_ips": [{"ip": ip} for ip in others]},
        "linux": {"namespaces": {"options": to_fields(values.NAMESPACES, found.config.namespaces)}},
    }


def container(found: ContainerStatus) -> dict[str, Any]:
    """As it is listed."""
    return {
        "id": found.id,
        "pod_sandbox_id": found.sandbox_id,
        "metadata": to_fields(values.CONTAINER_METADATA, found.metadata),
        "image": {"image": found.image},
        "image_ref": found.image_id,
        "image_id": found.image_id,
        "state": values.CONTAINER_STATE.out(found.state),
        "created_at": round(found.created_at * NANOSECONDS),
        "labels": dict(found.labels),
        "annotations": dict(found.annotations),
    }


def container_status(found: ContainerStatus) -> dict[str, Any]:
    return {**to_fields(values.CONTAINER_STATUS, found), "image_ref": found.image_id}


def image(found: Image) -> dict[str, Any]:
    """Kubelets take no image without a size; the machine's own root file system has none."""
    return {**to_fields(values.IMAGE, found), "size": found.size_bytes or 1, "spec": {"image": found.id}}


def container_stats(status: ContainerStatus, stats: ContainerStats, now: float) -> dict[str, Any]:
    fields = to_fields(values.STATS, stats)
    fields["attributes"] = {
        "id": status.id,
        "metadata": to_fields(values.CONTAINER_METADATA, status.metadata),
        "labels": dict(status.labels),
        "annotations": dict(status.annotations),
    }
    return {name: _at(now, value) if name != "attributes" else value for name, value in fields.items()}


def _at(now: float, value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "timestamp": round(now * NANOSECONDS)}


def sandbox_stats(
    found: SandboxStatus, containers: Sequence[tuple[ContainerStatus, ContainerStats]], now: float
) -> dict[str, Any]:
    """Of all its containers together."""

    def total(name: str) -> dict[str, int]:
        return {"value": sum(getattr(stats, name) for _, stats in containers)}

    return {
        "attributes": {
            "id": found.id,
            "metadata": to_fields(values.SANDBOX_METADATA, found.config.metadata),
            "labels": dict(found.config.labels),
            "annotations": dict(found.config.annotations),
        },
        "linux": {
            "cpu": _at(now, {"usage_core_nano_seconds": total("cpu_usage_core_ns")}),
            "memory": _at(
                now,
                {
                    "working_set_bytes": total("memory_working_set_bytes"),
                    "usage_bytes": total("memory_usage_bytes"),
                    "rss_bytes": total("memory_rss_bytes"),
                    "page_faults": total("page_faults"),
                    "major_page_faults": total("major_page_faults"),
                },
            ),
            "process": _at(now, {"process_count": total("pids")}),
            "containers": [container_stats(status, stats, now) for status, stats in containers],
        },
    }
