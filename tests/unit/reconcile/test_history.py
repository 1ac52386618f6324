"""Goal: two templates never share a revision. Method: a cluster in which somebody else's revision has the name already."""

import pytest

from kybern.api.apps_v1 import ControllerRevision, DaemonSet, StatefulSet
from kybern.api.core_v1 import Pod
from kybern.api.meta_v1 import ObjectMeta
from kybern.reconcile.history import HASH, new_revision, surplus
from kybern.testing import virtual
from kybern.testing.cluster import running
from kybern.testing.objects import made


@pytest.mark.parametrize("of", [DaemonSet, StatefulSet])
def test_a_name_that_is_taken_is_a_collision_and_gives_another_name(of: type[DaemonSet] | type[StatefulSet]) -> None:
    async def main() -> None:
        async with running(("n1",)) as cluster:
            await cluster.settle()
            cluster.control.kill()
            owner = await cluster.client.create(made(of.__name__.lower(), "agent", {"replicas": "1"}))
            taken = new_revision(owner, owner.spec.template, 1, 0).metadata.name
            foreign = ControllerRevision(
                metadata=ObjectMeta(name=taken, namespace="default"), data={"x": 1}, revision=1
            )
            await cluster.client.create(foreign)
            cluster.control.start()
            await cluster.settle()
            found = await cluster.client.get(of, "agent", "default")
            wanted = new_revision(owner, owner.spec.template, 1, 1)
            assert found.status.collision_count == 1
            (pod,) = await cluster.client.list(Pod, "default")
            assert (pod.metadata.labels or {})[HASH] in (wanted.metadata.name, (wanted.metadata.labels or {})[HASH])
            assert (await cluster.client.get(ControllerRevision, taken or "", "default")).data == {"x": 1}

    virtual.run(main())


@pytest.mark.parametrize(("limit", "forgotten"), [(None, 0), (1, 2), (0, 3), (-1, 0)])
def test_the_oldest_beyond_the_limit_are_forgotten_and_none_where_it_is_negative(
    limit: int | None, forgotten: int
) -> None:
    revisions = [ControllerRevision(metadata=ObjectMeta(name=f"r{n}"), revision=n) for n in (3, 1, 2)]
    assert [found.revision for found in surplus(revisions, limit)] == [1, 2, 3][:forgotten]
