import asyncio

import pytest

from kybern.api.coordination_v1 import Lease
from kybern.client.leases import NODE_LEASES, LeaderElection, LostLease, renew_node_lease
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running


def candidate(cluster: Cluster, name: str) -> LeaderElection:
    return LeaderElection(cluster.client, "control", "kube-system", name, cluster.clock)


def test_only_one_leads() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            assert await candidate(cluster, "a").try_to_hold()
            assert not await candidate(cluster, "b").try_to_hold()

    virtual.run(main())


def test_a_lease_that_is_given_up_is_free_at_once() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            first = candidate(cluster, "a")
            assert await first.try_to_hold()
            await first.release()
            assert await candidate(cluster, "b").try_to_hold()

    virtual.run(main())


def test_a_lease_that_is_not_renewed_can_be_taken() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            assert await candidate(cluster, "a").try_to_hold()
            second = candidate(cluster, "b")
            assert not await second.try_to_hold()
            await cluster.advance(16)
            assert await second.try_to_hold()
            lease = await cluster.client.get(Lease, "control", "kube-system")
            assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("b", 1)

    virtual.run(main())


def test_a_leader_that_lost_its_lease_stops() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            first, led = candidate(cluster, "a"), asyncio.Event()

            async def lead() -> None:
                led.set()
                await asyncio.Event().wait()

            async def rob() -> None:
                await led.wait()
                spec = {"holderIdentity": "b", "renewTime": "2030-01-01T00:00:00.000000Z"}
                await cluster.client.patch(Lease, "control", "kube-system", {"spec": spec})

            robbing = cluster.tasks.create_task(rob())
            with pytest.raises(LostLease):
                await first.run(lead)
            await robbing

    virtual.run(main())


def test_a_node_renews_its_lease() -> None:
    async def main() -> None:
        async with running((), loops=()) as cluster:
            first = await renew_node_lease(cluster.client, "n1", "uid", cluster.clock, None)
            await cluster.advance(10)
            second = await renew_node_lease(cluster.client, "n1", "uid", cluster.clock, first)
            assert (second.metadata.namespace, second.spec.holder_identity) == (NODE_LEASES, "n1")
            assert (second.spec.renew_time or "") > (first.spec.renew_time or "")

    virtual.run(main())
