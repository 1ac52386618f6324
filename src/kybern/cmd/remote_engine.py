"""A node whose containers a CRI runtime of somebody else's runs.

Such a runtime attaches its pods by CNI. So that they are on the cluster's network, with its Services and policies, it is
given a plugin that asks this node's agent; with `--pod-network cni` it has plugins of its own, and only the rules are ours.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.aio.timeouts import timeout
from kybern.cmd.node_network import Network
from kybern.cmd.place import Place
from kybern.network.cni import CniNetwork
from kybern.runtime.images.store import ImageStore
from kybern.runtime.remote import cni
from kybern.runtime.remote.calls import CALL_SECONDS
from kybern.runtime.remote.local_images import LocalImages
from kybern.runtime.remote.runtime import RemoteRuntime
from kybern.runtime.sandboxes import NoNetwork
from kybern.web.server import serve

NETWORK_SECONDS = 0.1  # between looks at whether a runtime has found its network
CLEAR_SECONDS = 60.0


async def remote(
    place: Place,
    images: ImageStore,
    network: Network,
    request_seconds: float,
    clock: Clock,
    ids: Ids,
    opened: AsyncExitStack,
) -> tuple[RemoteRuntime, Callable[[], Awaitable[None]]]:
    """Open, and what waits until pods can have a network."""
    ours = not isinstance(network.pods, CniNetwork)
    local = LocalImages(images, state_of(place), clock, ids)
    listener = await serve(local.endpoint)
    opened.push_async_callback(listener.close)
    local.open(f"127.0.0.1:{listener.port}")
    runtime = driven(place, clock, local, None if ours else network, request_seconds)
    await runtime.open()
    opened.push_async_callback(runtime.close)
    found = await runtime.list_pod_sandboxes()
    network.rules.adopt(found)
    if ours:
        await network.pods.collect(found)
        await opened.enter_async_context(cni.answering(socket_of(place), network.pods, runtime.known.of_pod))

    async def attached() -> None:
        await network.pods.ready.wait()
        if ours:
            cni.install(cni.places(await runtime.info()), plugin_name(place), socket_of(place))
        while await runtime.network_fault():
            await clock.sleep(NETWORK_SECONDS)

    return runtime, attached


def driven(
    place: Place,
    clock: Clock,
    local: LocalImages | None = None,
    network: Network | None = None,
    request_seconds: float = CALL_SECONDS,
) -> RemoteRuntime:
    """Not yet open."""
    return RemoteRuntime(
        place.cluster.runtime,
        state_of(place),
        owner=f"{place.cluster.id}.{place.name}",
        clock=clock,
        images=local,
        guard=network.rules if network else None,
        call_seconds=request_seconds,
    )


def state_of(place: Place) -> Path:
    return place.data / "cri"


def socket_of(place: Place) -> Path:
    return place.run / "cni.sock"


def plugin_name(place: Place) -> str:
    return f"kybern-{place.cluster.id}"


async def clear(place: Place, clock: Clock) -> None:
    """The runtime forgets everything of a node that has been stopped. RuntimeFault or OSError when it cannot.

    Its links and addresses are given back by others, so the plugin is answered by nobody in particular."""
    runtime = driven(place, clock)
    try:
        async with timeout(CLEAR_SECONDS), cni.answering(socket_of(place), NoNetwork(), runtime.known.of_pod):
            await runtime.open()
            for sandbox in await runtime.list_pod_sandboxes():
                await runtime.remove_pod_sandbox(sandbox.id)
            cni.uninstall(cni.places(await runtime.info()), plugin_name(place))
    finally:
        await runtime.close()
