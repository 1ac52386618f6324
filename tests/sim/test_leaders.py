"""Goal: several control processes may run. Of those that ask for a lease one acts; and should two act at once, since no
lease can rule that out, nothing is doubled or lost. Method: simulated clusters with two control processes.
"""

import random

import pytest

from kybern.api.apps_v1 import Deployment, StatefulSet
from kybern.api.batch_v1 import CronJob, Job
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Pod
from kybern.reconcile.pods import is_active
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running
from kybern.testing.objects import made


async def pods_of(cluster: Cluster, app: str) -> list[Pod]:
    pods = await cluster.client.list(Pod, "default", labels=f"app={app}")
    return [pod for pod in pods if is_active(pod)]


async def holder(cluster: Cluster) -> str:
    lease = await cluster.client.get(Lease, "kube-controller-manager", "kube-system")
    return lease.spec.holder_identity or ""


def test_the_second_process_takes_over_when_the_first_one_is_killed() -> None:
    async def main() -> None:
        async with running(("n1",)) as cluster:
            cluster.control.kill()
            first, second = cluster.control_process("a"), cluster.control_process("b")
            first.start()
            await cluster.advance(1)
            second.start()
            await cluster.client.create(made("deployment", "web", {"replicas": "2"}))
            await cluster.settle()
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("a", 2)
            first.kill()
            await cluster.client.patch(Deployment, "web", "default", {"spec": {"replicas": 3}})
            await cluster.advance(10)
            assert len(await pods_of(cluster, "web")) == 2
            await cluster.advance(10)
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("b", 3)
            second.kill()

    virtual.run(main())


def test_whoever_has_lost_the_lease_starts_anew_and_waits() -> None:
    async def main() -> None:
        async with running(("n1",)) as cluster:
            cluster.control.kill()
            first, second = cluster.control_process("a"), cluster.control_process("b")
            first.start()
            await cluster.advance(1)
            stolen = {"spec": {"holderIdentity": "b", "leaseTransitions": 7}}
            await cluster.client.patch(Lease, "kube-controller-manager", "kube-system", stolen)
            second.start()
            await cluster.advance(30)
            await cluster.client.create(made("deployment", "web", {"replicas": "2"}))
            await cluster.advance(30)
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("b", 2)
            second.kill()
            await cluster.advance(30)
            assert await holder(cluster) == "a"
            first.kill()

    virtual.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_two_at_once_do_no_harm(seed: int) -> None:
    virtual.run(two_at_once(seed))


async def two_at_once(seed: int) -> None:
    rng = random.Random(seed)
    async with running(("n1", "n2", "n3"), seed=seed) as cluster:
        second = cluster.control_process("")
        second.start()
        indexed = {"spec.completions": "12", "spec.parallelism": "4", "spec.completionMode": "Indexed"}
        for kind, name, options in (
            ("deployment", "web", {"replicas": "4"}),
            ("service", "web", {}),
            ("statefulset", "db", {"replicas": "3"}),
            ("job", "work", {**indexed, "pod.runs-seconds": "7"}),
            ("cronjob", "tick", {"schedule": "*_*_*_*_*", "pod.runs-seconds": "5"}),
        ):
            await cluster.client.create(made(kind, name, options))
        replicas = 4
        for number in range(12):
            await cluster.advance(rng.random() * 20)
            replicas = rng.randrange(6)
            container = {"name": "main", "image": f"web:{number % 3}"}
            template = {"spec": {"containers": [container]}}
            patch = {"spec": {"replicas": replicas, "template": template}}
            await cluster.client.patch(Deployment, "web", "default", patch)
        await cluster.client.patch(CronJob, "tick", "default", {"spec": {"suspend": True}})
        await cluster.advance(120)
        assert len(await pods_of(cluster, "web")) == replicas
        assert len(await pods_of(cluster, "db")) == 3
        stateful = await cluster.client.get(StatefulSet, "db", "default")
        assert stateful.status.ready_replicas == 3
        await check_jobs(cluster)
        second.kill()


async def check_jobs(cluster: Cluster) -> None:
    job = await cluster.client.get(Job, "work", "default")
    assert (job.status.succeeded, job.status.completed_indexes, job.status.failed) == (12, "0-11", None)
    jobs = [job for job in await cluster.client.list(Job, "default") if job.metadata.name != "work"]
    times = [(job.metadata.annotations or {})["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in jobs]
    assert jobs and len(set(times)) == len(times)
