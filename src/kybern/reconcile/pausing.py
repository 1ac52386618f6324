"""Pausing instead of killing, by two annotations of a pod.

    kybern.io/preemption: pause     its author's: when others need its processors, it is frozen where it is, not ended
    kybern.io/paused: "true"        the scheduler's: it is frozen; its processors count as free, its memory does not

The kubelet freezes and thaws by the second, the scheduler sets it and takes it away when there is room again.
"""

from msgspec.structs import replace

from kybern.api.core_v1 import Pod

PREEMPTION, PAUSE = "kybern.io/preemption", "pause"
PAUSED = "kybern.io/paused"


def may_be_paused(pod: Pod) -> bool:
    return (pod.metadata.annotations or {}).get(PREEMPTION) == PAUSE


def is_paused(pod: Pod) -> bool:
    return (pod.metadata.annotations or {}).get(PAUSED) == "true"


def resumed(pod: Pod) -> Pod:
    left = {key: value for key, value in (pod.metadata.annotations or {}).items() if key != PAUSED}
    return replace(pod, metadata=replace(pod.metadata, annotations=left))
