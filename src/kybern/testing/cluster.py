"""A whole cluster inside one event loop: store, API server, control loops and simulated nodes, over the in-memory transport.

    async def main() -> None:
        async with running(nodes=("n1", "n2"), seed=1) as cluster:
            await cluster.client.create(deployment)
            await cluster.settle()

    virtual.run(main())

On the virtual loop the same seed gives the same run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from ipaddress import IPv4Network
from random import Random

from msgspec.structs import replace

from kybern.aio.clock import Clock, LoopClock
from kybern.aio.ids import Ids
from kybern.aio.timeouts import timeout
from kybern.apiserver.admission.order import admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.allocation.services import ServiceAllocation
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.keys import keys_from_pem, new_signing_key
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.auth.reviews import Reviews
from kybern.apiserver.auth.tokens import ServiceAccountTokens
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.customresources.serving import CustomResources
from kybern.apiserver.documents import Documents
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.client import Client, InMemory, Transport, View
from kybern.client.leases import NODE_RENEW_SECONDS, LeaderElection, LostLease
from kybern.controllers.nodelifecycle import GRACE_SECONDS
from kybern.controllers.table import account_of, controllers
from kybern.reconcile.controller import Loop
from kybern.reconcile.run import declare, run_controllers
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.testing.binder import BINDER
from kybern.testing.faults import Faults, Faulty
from kybern.testing.lives import Settings
from kybern.testing.metrics import Measured, WithMetrics
from kybern.testing.nodes import SimulatedNodes
from kybern.web.http import Request, Response
from kybern.web.pki import create_ca

ROOT_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nsimulated\n-----END CERTIFICATE-----\n"
SERVICE_NETWORKS = (IPv4Network("10.96.0.0/16"),)
QUIET_SECONDS = 3.0
WATCH_SECONDS = 90 * 86400
BOOKMARKS = "allowWatchBookmarks=true"
SETTLE_SECONDS_MAX = 3600.0

Connect = Callable[[str], Transport]
"""A way to the API server in the name of an account."""

ADMINISTRATOR = User("simulation", ("system:masters", "system:authenticated"))
ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")


async def by_name(request: Request) -> User:
    """Who shows a token is the node or the service account of that name; who shows none may do everything."""
    _, _, name = request.headers.get("authorization", "").partition(" ")
    if name.startswith("system:node:"):
        return User(name, ("system:nodes", "system:authenticated"))
    return User(f"system:serviceaccount:kube-system:{name}", ACCOUNTS) if name else ADMINISTRATOR


@dataclass(slots=True)
class Cluster:
    client: Client
    view: View
    nodes: SimulatedNodes
    store: MemoryStore
    server: ApiServer
    clock: Clock
    tasks: asyncio.TaskGroup
    control: "ControlProcess"
    control_process: Callable[[str], "ControlProcess"]
    """Another one, of this identity."""
    ids: Ids = field(default_factory=Ids)
    measured: Measured = field(default_factory=Measured)

    async def settle(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        """Returns when nothing but heartbeats has been written for a while; TimeoutError when that never comes."""
        async with timeout(SETTLE_SECONDS_MAX):
            last = await self._fingerprint()
            while True:
                await self.clock.sleep(quiet_seconds)
                now = await self._fingerprint()
                if now == last:
                    return
                last = now

    async def _fingerprint(self) -> dict[str, int]:
        """Every key's revision, without what only tells that somebody is alive."""
        entries, _ = await self.store.list("/registry/")
        return {entry.key: entry.revision for entry in entries if not is_sign_of_life(entry.key)}

    async def advance(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


def is_sign_of_life(key: str) -> bool:
    return key.startswith(("/registry/leases/", "/registry/minions/", "/registry/events/"))


@lru_cache(maxsize=1)
def signing_key() -> bytes:
    """One for all clusters: making it takes a while."""
    return new_signing_key()


def all_controllers(grace_seconds: float, now: float) -> tuple[Loop, ...]:
    return controllers(
        root_certificate=ROOT_CERTIFICATE,
        authority=create_ca("simulated", now),
        signing_key=signing_key(),
        cluster_cidr="10.244.0.0/16",
        node_grace_seconds=grace_seconds,
    )


class Undisturbed:
    """A transport whose watches last for months and hear of changes only: bookmarks and new watches are most of what
    happens in a quiet month."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send(self, request: Request) -> Response:
        if BOOKMARKS in request.query:
            query = request.query.replace(BOOKMARKS, f"timeoutSeconds={WATCH_SECONDS}")
            request = replace(request, query=query)
        return await self.transport.send(request)


class Killable(LeaderElection):
    """What `kill -9` ends lets go of nothing."""

    async def release(self) -> None:
        pass


class ControlProcess:
    """The controllers with a View of their own, as they run in a process of their own; it can be killed and started."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        ids: Ids,
        connect: Connect,
        loops: Sequence[Loop],
        *,
        named: bool,
        identity: str = "",
    ) -> None:
        """`named`: each loop shows its own account, and has that account's rights only. With an identity it acts only
        while it holds the lease."""
        self.tasks, self.clock, self.ids, self.connect, self.loops = tasks, clock, ids, connect, loops
        self.client_of = self._account if named else None
        self.identity = identity
        self.running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.running = [self.tasks.create_task(self._run())]

    def kill(self) -> None:
        """As -9 does: nothing is let go of."""
        for task in self.running:
            task.cancel()

    async def _run(self) -> None:
        client = Client(self.connect(""), user_agent="control")
        while True:
            view = View(client, clock=self.clock, rng=self.ids.rng)
            declare(self.loops, view)
            control = partial(
                run_controllers, client, view, self.loops, clock=self.clock, ids=self.ids, client_of=self.client_of
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(view.run())
                    await (self._election(client).run(control) if self.identity else control())
            except* LostLease:
                pass  # the process ends, and another one is started in its place

    def _election(self, client: Client) -> LeaderElection:
        return Killable(client, "kube-controller-manager", "kube-system", self.identity, self.clock)

    def _account(self, loop: Loop) -> Client:
        return Client(self.connect(account_of(loop)), user_agent=loop.name)


@asynccontextmanager
async def running(
    nodes: Sequence[str] = ("n1",),
    *,
    seed: int = 1,
    loops: Sequence[Loop] | None = None,
    faults: Faults | None = None,
    beat_seconds: float = NODE_RENEW_SECONDS,
    settings: Settings | None = None,
) -> AsyncIterator[Cluster]:
    """`loops`: instead of all controllers, each with its own account's rights, and the small scheduler. `faults` lie
    between the controllers and the API server. `beat_seconds`: in simulations over weeks nodes report less often, and
    nothing disturbs those who watch. `settings`: more nodes, and what pods are like."""
    clock, ids = LoopClock(), Ids(seed)
    store = MemoryStore()
    server, allocation, definitions = await api_server(store, clock, ids)
    long = beat_seconds > NODE_RENEW_SECONDS
    client = Client(Undisturbed(InMemory(server)) if long else InMemory(server), user_agent="simulation")
    view = View(client, clock=clock, rng=ids.rng)
    simulated = SimulatedNodes(nodes, clock, settings=settings, beat_seconds=beat_seconds)
    grace = beat_seconds / NODE_RENEW_SECONDS * GRACE_SECONDS
    every = loops if loops is not None else all_controllers(grace, clock.wall())
    others = (*((BINDER,) if loops is None else ()), *simulated.loops())

    measured = Measured()

    def connect(account: str) -> Transport:
        plain: Transport = WithMetrics(InMemory(server, token=account), measured, clock)
        plain = Undisturbed(plain) if long else plain
        return Faulty(plain, faults, clock, ids.rng) if faults is not None else plain

    async with asyncio.TaskGroup() as tasks:

        def process(identity: str = "") -> ControlProcess:
            return ControlProcess(tasks, clock, ids, connect, every, named=loops is None, identity=identity)

        control = process()
        control.start()
        beside = [
            tasks.create_task(allocation.run()),
            tasks.create_task(definitions.run()),
            tasks.create_task(view.run()),
            tasks.create_task(run_controllers(client, view, others, clock=clock, ids=ids)),
        ]
        cluster = Cluster(client, view, simulated, store, server, clock, tasks, control, process, ids, measured)
        try:
            yield cluster
        finally:
            cluster.control.kill()
            for task in beside:
                task.cancel()


async def api_server(
    store: MemoryStore, clock: Clock, ids: Ids
) -> tuple[ApiServer, ServiceAllocation, CustomResources]:
    """The server, and what runs beside it."""
    machine = await open_machine(store, RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    rbac = following(objects)
    inputs = Inputs(
        objects=objects,
        authorizer=Authorizers((rbac,)),
        rbac=rbac,
        clock=clock,
        ids=ids,
        callouts=Callouts(objects, Random(1), pods_reachable=False),
    )
    keys = keys_from_pem(signing_key())
    reviews = Reviews(Authorizers((rbac,)), rbac, ServiceAccountTokens(keys=keys, objects=objects, clock=clock))
    allocation = ServiceAllocation(objects, SERVICE_NETWORKS, ids.rng)
    documents = Documents(machine.resources)
    server = ApiServer(
        machine,
        authenticate=by_name,
        authorizer=Authorizers((rbac,)),
        plugins=(*admission_plugins(inputs), allocation),
        creators=reviews.creators(),
        documents=(documents,),
        flow_control=FlowControl(objects, clock),
    )
    await bootstrap(objects, networks=SERVICE_NETWORKS)
    definitions = CustomResources(machine, objects, documents.invalidate, inputs.callouts)
    await definitions.start()
    return server, allocation, definitions
