"""The process that slows a node's link down (`kybern node delay`): it stands between the link and the bridge."""

import asyncio

from kybern.aio.ids import Ids
from kybern.cmd.links import insert_slow_ends
from kybern.cmd.place import Place
from kybern.cmd.stopping import until_stopped
from kybern.linux.slow_link import SlowLink


def main(place: Place) -> None:
    asyncio.run(run(place))


async def run(place: Place) -> None:
    rng = Ids().rng
    insert_slow_ends(place)
    link = SlowLink(
        place.uplink, place.slow_ends[1], place.delay_ms / 1000, lambda: rng.random() * 100 < place.loss_percent
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        await until_stopped()
        running.cancel()
