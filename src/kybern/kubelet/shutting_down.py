"""A node that is shut down in good order: it takes no more pods, says so, and ends those it has, the critical ones last."""

import asyncio
import logging
from collections.abc import Mapping

from kybern.kubelet.lifecycle import Stage
from kybern.kubelet.parts import Parts
from kybern.kubelet.shutdown import grouped
from kybern.kubelet.status import Verdict
from kybern.kubelet.worker import PodWorker

REFUSED = Verdict("NodeShutdown", "Pod was rejected as the node is shutting down.")
ENDED = Verdict("Terminated", "Pod was terminated in response to imminent node shutdown.", disrupts=True)

log = logging.getLogger(__name__)


async def shut_down(parts: Parts, workers: Mapping[str, PodWorker]) -> None:
    """Within the configured periods; at once where there are none."""
    policy = parts.config.shutdown
    if not policy.groups:
        return
    parts.node.shutting_down = True
    parts.node.news.set()
    parts.tell_of_node("Normal", "Shutdown", "Shutdown manager detected shutdown event")
    living = [worker for worker in workers.values() if worker.stage is Stage.SYNCING and worker.refused is None]
    for seconds, group in grouped(policy, living, [worker.pod.spec.priority or 0 for worker in living]):
        for worker in group:
            worker.evict(ENDED, seconds)
        ended = await asyncio.gather(*(worker.until_over(seconds) for worker in group))
        if not all(ended):
            log.warning("pods still run after the %d s that they have to end when the node is shut down", seconds)
        await asyncio.gather(*(worker.writer.flush() for worker in group))
