"""The process of all simulated nodes: one View, one connection pool, no process per node or pod."""

import asyncio
import os

import uvloop

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Pod
from kybern.client import Client
from kybern.client.leases import NODE_RENEW_SECONDS
from kybern.client.view import View
from kybern.cmd import credentials
from kybern.cmd.config import Cluster
from kybern.cmd.ready import transport
from kybern.cmd.stopping import until_stopped
from kybern.reconcile.run import run_controllers
from kybern.testing.lives import read_settings
from kybern.testing.nodes import SimulatedNodes

FIRST_POD_ADDRESS = "100.64.0.2"  # of the range that providers share (RFC 6598): no real pod of the cluster is in it
BEATS_PER_SECOND_MAX = 250
BEAT_SECONDS_MAX = 20.0  # twice before a node is given up
NICENESS = 5  # nodes are elsewhere: what they do must not slow the control plane down


def main(cluster: Cluster) -> None:
    os.nice(NICENESS)
    uvloop.run(run(cluster))


async def run(cluster: Cluster) -> None:
    clock, ids = SystemClock(), Ids()
    settings = read_settings(cluster.simulated_config, cluster.simulated_nodes)
    count = sum(group.count for group in settings.nodes)
    beat_seconds = min(max(NODE_RENEW_SECONDS, count / BEATS_PER_SECOND_MAX), BEAT_SECONDS_MAX)
    nodes = SimulatedNodes((), clock, settings=settings, beat_seconds=beat_seconds, first_pod_address=FIRST_POD_ADDRESS)
    client = Client(transport(cluster, credentials.SIMULATED_NODES), user_agent="kybern-simulated-nodes")
    view = View(client, clock=clock, rng=ids.rng)
    view.watch_kind(Pod, fields="spec.nodeName!=")
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(view.run()),
            tasks.create_task(run_controllers(client, view, nodes.loops(), clock=clock, ids=ids)),
        ]
        await until_stopped()
        for task in running:
            task.cancel()
