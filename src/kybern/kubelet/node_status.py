"""The status of the node, as a value: capacity, addresses, conditions, images.

Capacity that others have added (extended resources) is theirs: it is kept, and offered as allocatable.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeFeatures,
    NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures,
    NodeStatus,
    NodeSystemInfo,
)
from kybern.api.quantity import canonical, from_amount, milli, of_value, parse
from kybern.runtime.cri import Image, RuntimeHandler

IMAGES_MAX = 50
DECLARED_FEATURES = ("InPlacePodLevelResourcesVerticalScaling", "RestartAllContainersOnContainerExits")
SHARED_CPUS = "GuaranteedQoSPodCPUResize"  # what has CPUs for itself alone is not resized here
OWN_RESOURCES = frozenset({"cpu", "memory", "pods", "ephemeral-storage"})

# type -> (status, reason, message) while all is well
PRESSING: dict[str, tuple[str, str, str]] = {
    "MemoryPressure": ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("True", "KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}
# (type, status) -> the reason of the event that tells of it
EVENTS: dict[tuple[str, str], str] = {
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("Ready", "False"): "NodeNotReady",
    ("Ready", "True"): "NodeReady",
}
WELL: dict[str, tuple[str, str, str]] = {
    "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
}


def node_status(
    old: NodeStatus,
    *,
    capacity: Mapping[str, str],
    reserved: Mapping[str, int],
    info: NodeSystemInfo,
    addresses: Sequence[str],
    hostname: str,
    port: int,
    images: Sequence[Image],
    fault: str,
    pressures: Collection[str],
    devices: Mapping[str, tuple[int, int]],
    handlers: Sequence[RuntimeHandler] = (),
    gives_cpus: bool = False,
    now: float,
) -> NodeStatus:
    """`reserved`: what pods may not ask for. `devices`: how many there are and how many are well. `fault`: why the node is not ready; empty when it is. `gives_cpus`: some to containers alone."""
    total = {**_of_others(old.capacity or {}), **capacity, **{name: str(n) for name, (n, _) in devices.items()}}
    amounts = {name: canonical(amount) for name, amount in total.items()}
    return replace(
        old,
        capacity=amounts,
        allocatable={
            **{name: allocatable(amount, reserved.get(name, 0)) for name, amount in amounts.items()},
            **{name: str(well) for name, (_, well) in devices.items()},
        },
        addresses=(
            *(NodeAddress(type="InternalIP", address=address) for address in addresses),
            NodeAddress(type="Hostname", address=hostname),
        ),
        conditions=(*_conditions(old, fault, pressures, now), *_foreign(old)),
        daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=port)),
        images=_images(images),
        features=NodeFeatures(supplemental_groups_policy=True),
        declared_features=DECLARED_FEATURES if gives_cpus else (SHARED_CPUS, *DECLARED_FEATURES),
        runtime_handlers=_handlers(handlers) or None,
        node_info=info,
    )


def allocatable(amount: str, reserved_milli: int) -> str:
    """What is left of a capacity."""
    left = max(milli(amount) - reserved_milli, 0)
    if not reserved_milli:
        return amount
    return from_amount(left * 1_000_000) if left % 1000 else of_value(left // 1000, parse(amount).family)


def _of_others(capacity: Mapping[str, str]) -> dict[str, str]:
    return {
        name: amount
        for name, amount in capacity.items()
        if name not in OWN_RESOURCES and not name.startswith("hugepages-")
    }


def _conditions(old: NodeStatus, fault: str, pressures: Collection[str], now: float) -> list[NodeCondition]:
    known = {condition.type: condition for condition in old.conditions or ()}
    wanted = WELL | {kind: PRESSING[kind] for kind in pressures}
    if fault:
        wanted["Ready"] = ("False", "KubeletNotReady", fault)
    return [_condition(kind, *values, known.get(kind), now) for kind, values in wanted.items()]


def _condition(
    kind: str, status: str, reason: str, message: str, old: NodeCondition | None, now: float
) -> NodeCondition:
    since = old.last_transition_time if old and old.status == status else None
    return NodeCondition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_heartbeat_time=rfc3339(now),
        last_transition_time=since or rfc3339(now),
    )


def _foreign(old: NodeStatus) -> tuple[NodeCondition, ...]:
    return tuple(condition for condition in old.conditions or () if condition.type not in WELL)


def _handlers(handlers: Sequence[RuntimeHandler]) -> tuple[NodeRuntimeHandler, ...]:
    return tuple(
        NodeRuntimeHandler(
            name=handler.name,
            features=NodeRuntimeHandlerFeatures(
                recursive_read_only_mounts=handler.recursive_read_only_mounts, user_namespaces=handler.user_namespaces
            ),
        )
        for handler in sorted(handlers, key=lambda handler: handler.name)
    )


def _images(images: Sequence[Image]) -> tuple[ContainerImage, ...]:
    largest = sorted(images, key=lambda image: (-image.size_bytes, image.id))[:IMAGES_MAX]
    return tuple(
        ContainerImage(names=(*image.repo_digests, *image.repo_tags) or (image.id,), size_bytes=image.size_bytes)
        for image in largest
    )


def news(old: NodeStatus, new: NodeStatus) -> list[str]:
    """The reasons of the events that tell what changed."""
    known = {condition.type: condition.status for condition in old.conditions or ()}
    return [
        EVENTS[c.type, c.status]
        for c in new.conditions or ()
        if known.get(c.type) != c.status and (c.type, c.status) in EVENTS
    ]


def has_news(old: NodeStatus, new: NodeStatus) -> bool:
    """Whether more than heartbeats has changed."""
    return _still(old) != _still(new)


def _still(status: NodeStatus) -> NodeStatus:
    conditions = tuple(replace(condition, last_heartbeat_time=None) for condition in status.conditions or ())
    return replace(status, conditions=tuple(sorted(conditions, key=lambda c: c.type)))


def node_status_patch(old: NodeStatus, new: NodeStatus) -> dict[str, Any]:
    """The strategic merge patch from one to the other, our conditions always in it."""
    was, now = to_builtins(old), to_builtins(new)
    changed = {key: now[key] for key in now if now[key] != was.get(key)}
    changed["conditions"] = [condition for condition in now["conditions"] if condition["type"] in WELL]
    if "allocatable" in changed:
        gone = dict.fromkeys(was.get("allocatable", {}).keys() - now["allocatable"].keys())
        changed["allocatable"] = {**now["allocatable"], **gone}
    if "addresses" in changed and "addresses" in was:
        changed["addresses"] = [*now["addresses"], {"$patch": "replace"}]
    return {"status": changed}
