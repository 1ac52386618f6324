"""Goal: whoever sets the clock, a machine that wakes after a night say, makes no controller believe what it has not seen.
Method: the wall clock jumps, to and fro, at moments that lie anywhere between two signs of life of the nodes."""

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Event
from kybern.client.leases import NODE_RENEW_SECONDS
from kybern.testing import virtual
from kybern.testing.cluster import running

HOUR = 3600.0
JUMPS = 20


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_no_node_is_lost_because_the_clock_was_set(jump: float) -> None:
    async def main() -> set[str | None]:
        async with running(("n1", "n2", "n3")) as cluster:
            assert isinstance(cluster.clock, LoopClock)
            await cluster.advance(60)
            for _ in range(JUMPS):
                cluster.clock.start += jump
                await cluster.advance(NODE_RENEW_SECONDS * 1.37)
            return {event.reason for event in await cluster.client.list(Event) if event.involved_object.kind == "Node"}

    assert virtual.run(main()) == {"RegisteredNode"}
