"""The control process: every controller, and the scheduler, each under its own name.

Several may run: of those the one that holds a lease acts (upstream's leases, so upstream's own may stand beside), the
others watch and are ready. A process that has lost its lease ends, and is started again as one of those who wait.
"""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import uvloop

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.client import Client
from kybern.client.accounts import AccountTransport
from kybern.client.events import Recorder
from kybern.client.leases import LeaderElection, LostLease, Terms
from kybern.client.view import View
from kybern.cmd import credentials
from kybern.cmd.config import Cluster
from kybern.cmd.extensions import ACCOUNT, extensions_of, run_extension_controllers, with_rules
from kybern.cmd.ready import transport
from kybern.cmd.stopping import until_stopped
from kybern.controllers.table import account_of, controllers
from kybern.reconcile.controller import Loop
from kybern.reconcile.metrics import QueueMetrics
from kybern.reconcile.run import declare, run_controllers
from kybern.scheduler.configuration import read_configuration
from kybern.scheduler.scheduler import Scheduler
from kybern.web.pki import Pair, read_pair
from kybern.web.server import serve

TERMS = Terms(retry_seconds=4.0)  # upstream's but for how often: a quiet machine is left quiet


def main(cluster: Cluster) -> None:
    """A lease that was lost ends it, as upstream's: somebody else may lead now, and it is started again as one who waits."""
    lost: Sequence[BaseException] = ()
    try:
        uvloop.run(run(cluster))
    except* LostLease as group:
        lost = group.exceptions
    if lost:
        print(lost[0], file=sys.stderr)
        raise SystemExit(1)


async def run(cluster: Cluster) -> None:
    clock, ids = SystemClock(), Ids()
    client = Client(transport(cluster, credentials.CONTROLLERS))
    unnamed = transport(cluster, None)

    def account(loop: Loop) -> Client:
        return Client(AccountTransport(unnamed, client, account_of(loop), "kube-system", clock))

    ca = authority(cluster)
    view = View(client, clock=clock, rng=ids.rng)
    loops = controllers(
        root_certificate=ca.certificate.decode(),
        authority=ca,
        signing_key=(cluster.pki / "sa.key").read_bytes(),
        cluster_cidr=",".join(map(str, cluster.pod_cidrs)),
        balancer_cidr="" if cluster.simulated else ",".join(map(str, cluster.balancer_cidrs)),
    )
    scheduling = Client(transport(cluster, credentials.SCHEDULER))
    events = Recorder(scheduling, "default-scheduler", cluster.node_name, clock, ids)
    settings = read_configuration(cluster.scheduler_config)
    extensions = extensions_of(cluster)
    profiles = settings.profiles
    if extensions is not None:
        profiles = tuple(with_rules(profile, lambda: extensions.scheduling) for profile in profiles)
    scheduler = Scheduler(scheduling, view, clock, ids, events, profiles, settings.extenders, settings.backoff)

    def elected(candidate: Client, lease: str) -> LeaderElection:
        return LeaderElection(candidate, lease, "kube-system", identity(cluster), clock, TERMS)

    declare(loops, view)
    metrics = QueueMetrics()
    controlling = partial(
        run_controllers, client, view, loops,
        clock=clock, ids=ids, host=cluster.node_name, client_of=account, metrics=metrics,
    )  # fmt: skip
    telling = await serve(metrics.answer, unix_path=str(cluster.controllers_socket))
    beside: list[Coroutine[Any, Any, None]] = []
    if extensions is not None:
        extending = Client(AccountTransport(unnamed, client, ACCOUNT, "kube-system", clock))
        run_theirs = partial(run_extension_controllers, extensions, extending, clock, ids)
        beside = [extensions.run(clock), elected(extending, "kybern-extensions").run(run_theirs)]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(view.run()),
            tasks.create_task(events.run()),
            tasks.create_task(elected(client, "kube-controller-manager").run(controlling)),
            tasks.create_task(elected(scheduling, "kube-scheduler").run(scheduler.run)),
            *(tasks.create_task(work) for work in beside),
        ]
        await until_stopped()
        for task in running:
            task.cancel()
        await telling.close()


def identity(cluster: Cluster) -> str:
    """The same after a restart, so that whoever was killed goes on at once: there is one in a data directory."""
    return f"{cluster.node_name}_{cluster.id}"


def authority(cluster: Cluster) -> Pair:
    ca = read_pair(cluster.pki, "ca")
    assert ca is not None, "credentials.prepare made it"
    return ca
