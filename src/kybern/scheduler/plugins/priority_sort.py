"""PrioritySort: the most important pod first, then the one that waits longest."""

from typing import Any

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import QueueSortPlugin
from kybern.scheduler.queue import by_priority


class PrioritySort(QueueSortPlugin):
    name = "PrioritySort"

    def sort_key(self, pod: Pod, added: float) -> tuple[Any, ...]:
        return by_priority(pod, added)
