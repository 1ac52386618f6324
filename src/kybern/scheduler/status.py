"""What the scheduler reads from a pod's status and writes there: whether it waits for a node, and why it still does."""

from typing import Any

from kybern.api.core_v1 import Pod, PodCondition

SCHEDULED = "PodScheduled"
UNSCHEDULABLE, FAULTY = "Unschedulable", "SchedulerError"
DEFAULT_SCHEDULER = "default-scheduler"


def is_waiting(pod: Pod) -> bool:
    """For a node, and not being deleted."""
    return not pod.spec.node_name and pod.metadata.deletion_timestamp is None


def scheduler_of(pod: Pod) -> str:
    return pod.spec.scheduler_name or DEFAULT_SCHEDULER


def condition(pod: Pod) -> PodCondition | None:
    return next((found for found in pod.status.conditions or () if found.type == SCHEDULED), None)


def is_told(pod: Pod, message: str, node: str, reason: str) -> bool:
    """Why it waits, and for which node."""
    known = condition(pod)
    return (
        (pod.status.nominated_node_name or "") == node
        and known is not None
        and (known.status, known.reason, known.message) == ("False", reason, message)
    )


def condition_patch(pod: Pod, message: str, node: str, now: str, reason: str) -> dict[str, Any]:
    """A strategic merge patch; the time of transition changes only with the status."""
    known = condition(pod)
    since = known.last_transition_time if known and known.status == "False" else None
    return {
        "status": {
            "nominatedNodeName": node or None,
            "conditions": [
                {
                    "type": SCHEDULED,
                    "status": "False",
                    "reason": reason,
                    "message": message,
                    "lastProbeTime": None,
                    "lastTransitionTime": since or now,
                }
            ],
        }
    }
