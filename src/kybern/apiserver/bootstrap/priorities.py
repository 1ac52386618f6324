"""The two priority classes that only the system's own pods may use."""

from kybern.api.meta_v1 import ObjectMeta
from kybern.api.scheduling_v1 import PriorityClass
from kybern.apiserver.bootstrap.create import ensure, in_parallel
from kybern.apiserver.request import Objects

SYSTEM_PRIORITIES = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}


async def ensure_priorities(objects: Objects) -> None:
    await in_parallel(
        *(
            ensure(objects, PriorityClass(metadata=ObjectMeta(name=name), value=value, description=description))
            for name, (value, description) in SYSTEM_PRIORITIES.items()
        )
    )
