"""What runs a node's containers: the warden, a simulation, or a runtime of somebody else's that `--runtime` names.

Images are built by the warden, whoever runs them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.cmd.node_network import Network
from kybern.cmd.place import Place
from kybern.kubelet.exposition import Sample
from kybern.kubelet.network_times import TimedNetwork
from kybern.runtime.build.builder import Builder
from kybern.runtime.cri import Runtime
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime
from kybern.runtime.simulated import Simulated


@dataclass(frozen=True, slots=True)
class Engine:
    runtime: Runtime
    builder: Builder | None
    """None where nothing can be built."""
    attached: Callable[[], Awaitable[object]]
    """Waits until pods can have a network."""
    samples: Callable[[], Iterable[Sample]] = tuple
    """What its parts tell of themselves."""


async def engine(
    place: Place,
    images: ImageStore,
    network: Network | None,
    request_seconds: float,
    clock: Clock,
    ids: Ids,
    opened: AsyncExitStack,
) -> Engine:
    """Open; `opened` closes it. Without a network it is a simulation."""
    if network is None:
        part, _, _ = str(place.cluster.pod_cidrs[0].network_address + 256 * (place.number - 1)).rpartition(".")
        return Engine(Simulated(clock, network=part), None, asyncio.Event().wait)
    timed = TimedNetwork(network.pods, clock)
    native = NativeRuntime(place.runtime, place.run, images=images, network=timed, clock=clock, ids=ids)
    await native.open()
    opened.push_async_callback(native.close)
    builder = Builder(native, place.runtime / "build", f"{place.cgroup}/build", clock)
    if place.cluster.runtime:
        from kybern.cmd.remote_engine import remote  # with its messages: who does not use it does not pay for it

        runtime, attached = await remote(place, images, network, request_seconds, clock, ids, opened)
        return Engine(runtime, builder, attached)
    found = await native.list_pod_sandboxes()
    network.rules.adopt(found)
    await network.pods.collect(found)
    return Engine(native, builder, network.pods.ready.wait, timed.samples)
