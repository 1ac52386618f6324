"""While nothing happens the controllers do nothing: the signs of life of nodes are all that wakes one of them."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from kybern.api.apps_v1 import Deployment, DeploymentSpec
from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.client import Client
from kybern.client.leases import NODE_RENEW_SECONDS, LeaderElection
from kybern.controllers.nodelifecycle import LOOK_SECONDS
from kybern.reconcile.run import Workers
from kybern.testing import virtual
from kybern.testing.builders import APP, template
from kybern.testing.cluster import running

HOUR = 3600
NODES = ("n1", "n2")


def test_in_an_idle_hour_only_signs_of_life_are_looked_at_and_hardly_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Counter[str] = Counter()
    passes: Counter[str] = Counter()
    request, handle = Client.request, Workers.handle

    async def counted_request(self: Client, method: str, path: str, *rest: Any, **more: Any) -> bytes:
        asked[self.user_agent] += 1
        return await request(self, method, path, *rest, **more)

    async def counted_pass(self: Workers, *args: Any) -> None:
        passes[self.controller.name] += 1
        await handle(self, *args)

    async def main() -> None:
        async with running(NODES) as cluster:
            web = DeploymentSpec(replicas=3, selector=LabelSelector(match_labels=dict(APP)), template=template())
            await cluster.client.create(Deployment(metadata=ObjectMeta(name="web", namespace="default"), spec=web))
            await cluster.settle()
            await cluster.advance(900)
            monkeypatch.setattr(Client, "request", counted_request)
            monkeypatch.setattr(Workers, "handle", counted_pass)
            await cluster.advance(HOUR)

    virtual.run(main())
    looked, beats = passes.pop("node"), len(NODES) * HOUR / NODE_RENEW_SECONDS
    assert beats <= looked < 1.5 * beats
    assert passes.keys() <= {"simulated-kubelet", "node-ipam", "cluster-dns"}, "what follows nodes, and their own loop"
    assert passes["node-ipam"] + passes["cluster-dns"] < 50
    del asked["simulation"]  # the nodes' own
    assert asked.pop("control") == HOUR // LOOK_SECONDS, "it looks at the leases of nodes, and at nothing else"
    assert asked.keys() == {"garbagecollector"} and asked.total() < 10, "it asks which kinds there are, now and then"


def test_what_comes_up_again_and_again_comes_up_together() -> None:
    """Two leases are renewed each two seconds, the leases of nodes looked at each four, and a hundred watches are told each
    minute that nothing has happened; somebody else's watches have their own moment."""

    async def main() -> tuple[int, int]:
        async with running(()) as cluster:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtual.VirtualLoop)
            cluster.control.kill()
            leading = cluster.control_process("kube-controller-manager")
            leading.start()
            await cluster.advance(0.7)
            scheduler = LeaderElection(cluster.client, "kube-scheduler", "kube-system", "scheduler", cluster.clock)
            other = cluster.tasks.create_task(scheduler.run(asyncio.Event().wait))
            await cluster.advance(900)
            before = loop.moments
            await cluster.advance(HOUR)
            moments = loop.moments - before
            other.cancel()
            leading.kill()
            return moments, HOUR // int(scheduler.terms.retry_seconds)

    moments, renewals = virtual.run(main())
    assert renewals <= moments < renewals * 1.2
