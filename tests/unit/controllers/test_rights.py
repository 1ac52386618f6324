"""Every controller gets by with its own account's rights, upstream's, and none of them is refused anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.aio.ids import Ids
from kybern.api.apps_v1 import DaemonSet, Deployment, StatefulSet
from kybern.api.batch_v1 import CronJob, Job
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Namespace, Node, Pod, ReplicationController, Service
from kybern.api.rbac_v1 import ClusterRole
from kybern.apiserver.admission.order import admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.issuer import group_names, user_name
from kybern.apiserver.auth.keys import new_signing_key
from kybern.apiserver.auth.rbac import Rbac, following
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.bootstrap.rbac import cluster_roles, roles
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.documents import Documents
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.client import Client, InMemory, View
from kybern.client.events import Recorder
from kybern.controllers.table import account_of, controllers
from kybern.reconcile import run_controllers
from kybern.registry import RESOURCES
from kybern.scheduler.scheduler import Scheduler
from kybern.store.memory import MemoryStore
from kybern.testing.nodes import SimulatedNodes
from kybern.testing.virtual import run
from kybern.web.http import Request, Response
from kybern.web.pki import create_ca

AUTHORITY = create_ca("simulated", 0)
LOOPS = controllers(
    root_certificate=AUTHORITY.certificate.decode(),
    authority=AUTHORITY,
    signing_key=new_signing_key(),
    cluster_cidr="10.244.0.0/16",
    node_grace_seconds=40,
)
ROOT = "root system:masters"


class Noted:
    """Decides as RBAC does, and notes every refusal."""

    def __init__(self, rbac: Rbac) -> None:
        self.rbac = rbac
        self.refused: set[tuple[str, ...]] = set()

    def decide(self, attributes: Attributes) -> Decision:
        decision = self.rbac.decide(attributes)
        if not decision.allowed:
            a = attributes
            self.refused.add(
                (a.user.name, a.verb, a.group, a.resource, a.subresource, a.path if not a.resource else "")
            )
        return decision


class As:
    """A transport that says who sends."""

    def __init__(self, server: ApiServer, user: str) -> None:
        self.inner, self.user = InMemory(server), user

    async def send(self, request: Request) -> Response:
        return await self.inner.send(replace(request, headers={**request.headers, "test-user": self.user}))


async def who(request: Request) -> User:
    name, *groups = request.headers["test-user"].split()
    return User(name, (*groups, "system:authenticated"))


@asynccontextmanager
async def cluster(*nodes: str) -> AsyncIterator[tuple[Client, Noted, SimulatedNodes]]:
    clock, ids = LoopClock(), Ids(1)
    machine = await open_machine(MemoryStore(), RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    rbac = following(objects)
    noted = Noted(rbac)
    inputs = Inputs(
        objects=objects,
        authorizer=Authorizers((rbac,)),
        rbac=rbac,
        clock=clock,
        ids=ids,
        callouts=Callouts(objects, Random(1), pods_reachable=False),
    )
    server = ApiServer(
        machine, authenticate=who, authorizer=Authorizers((noted,)), plugins=admission_plugins(inputs),
        documents=(Documents(machine.resources),),
    )  # fmt: skip
    await bootstrap(objects)

    def client_of(loop: Any) -> Client:
        account = account_of(loop)
        return Client(As(server, " ".join((user_name("kube-system", account), *group_names("kube-system")))))

    root, manager = Client(As(server, ROOT)), Client(As(server, "system:kube-controller-manager"))
    scheduling = Client(As(server, "system:kube-scheduler"))
    view, simulated = View(manager, clock=clock, rng=ids.rng), SimulatedNodes(nodes, clock)
    events = Recorder(scheduling, "default-scheduler", "", clock, ids)
    everything = View(root, clock=clock, rng=ids.rng)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(part)
            for part in (
                view.run(), everything.run(), events.run(),
                run_controllers(manager, view, LOOPS, clock=clock, ids=ids, client_of=client_of),
                run_controllers(root, everything, simulated.loops(), clock=clock, ids=ids),
                Scheduler(scheduling, view, clock, ids, events).run(),
            )
        ]  # fmt: skip
        yield root, noted, simulated
        for task in running:
            task.cancel()


def made(kind: type[Any], name: str, spec: dict[str, Any], namespace: str = "work") -> Any:
    return from_builtins(kind, {"metadata": {"name": name, "namespace": namespace or None}, "spec": spec})


def workload(kind: type[Any], name: str, **more: Any) -> Any:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return made(kind, name, {"selector": {"matchLabels": {"app": name}}, "template": template} | more)


def job_spec(seconds: int = 1) -> dict[str, Any]:
    annotations = {"simulated/runs-seconds": str(seconds)}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    return {"template": {"metadata": {"annotations": annotations}, "spec": pod}, "ttlSecondsAfterFinished": 60}


def test_a_cluster_at_work_is_refused_nothing() -> None:
    async def story() -> None:
        async with cluster("n1", "n2") as (root, noted, nodes):
            await asyncio.sleep(30)
            await root.create(Namespace(metadata=from_builtins(Namespace, {"metadata": {"name": "work"}}).metadata))
            await asyncio.sleep(5)
            for kind, name in ((Deployment, "deploy"), (StatefulSet, "set"), (DaemonSet, "each")):
                await root.create(workload(kind, name, **({} if kind is DaemonSet else {"replicas": 3})))
            await root.create(workload(ReplicationController, "rc", replicas=2, selector={"app": "rc"}))
            await root.create(made(Service, "web", {"selector": {"app": "deploy"}, "ports": [{"port": 80}]}))
            await root.create(made(Job, "job", job_spec()))
            await root.create(made(CronJob, "cron", {"schedule": "* * * * *", "jobTemplate": {"spec": job_spec()}}))
            await root.create(from_builtins(ClusterRole, {"metadata": {"name": "w", "labels": {
                "rbac.authorization.k8s.io/aggregate-to-view": "true"}}, "rules": [
                {"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}]}))  # fmt: skip
            await asyncio.sleep(200)
            nodes.silence("n2")
            await asyncio.sleep(600)
            running = [pod for pod in await root.list(Pod, "work") if pod.status.phase == "Running"]
            assert len(running) > 5
            await root.delete(Deployment, "deploy", "work", propagation="Foreground")
            await root.delete(Node, "n2")
            await asyncio.sleep(120)
            await root.delete(Namespace, "work")
            await asyncio.sleep(300)
            assert "work" not in [found.metadata.name for found in await root.list(Namespace)]
            assert noted.refused == set()

    run(story())


def test_every_loop_s_account_has_a_role() -> None:
    names = {role.metadata.name for role in (*cluster_roles(), *roles())}
    for loop in LOOPS:
        assert f"system:controller:{account_of(loop)}" in names, loop.name
