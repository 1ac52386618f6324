"""What the volumes of pods hold is compared with the API now and then: of all pods in one go.

Each pod at a time of its own would wake the node ten times a second, and waking costs more than what is then looked at. A few
pods at a time have their turn, so that nobody else waits for all of them; each goes on by itself, should the API not answer.
"""

from collections.abc import Mapping

from kybern.aio.slices import in_slices
from kybern.kubelet.parts import Parts
from kybern.kubelet.worker import PodWorker

PERIOD_SECONDS = 10.0
AT_ONCE = 4  # a pod takes a quarter of a millisecond


async def refresh_volumes(parts: Parts, workers: Mapping[str, PodWorker]) -> None:
    """Until cancelled. Nodes that start together do not ask together."""
    await parts.clock.sleep(parts.ids.rng.random() * PERIOD_SECONDS)
    while True:
        async for worker in in_slices(list(workers.values()), AT_ONCE):
            worker.mounting.look_again()
        await parts.clock.sleep(PERIOD_SECONDS * (1 + parts.ids.rng.random() / 10))
