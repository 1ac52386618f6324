"""Goal: whatever is lost on the way, the cluster ends up as it was asked to be. Method: random changes to a simulated
cluster whose controllers talk over a bad network and are killed now and then, from a seed; then the network is good
again, the cluster settles, and what is there is compared with what was asked.

A failing run is played again with: SEED=<n> pytest tests/sim
"""

import os
import random

import pytest

from kybern.api.apps_v1 import Deployment, ReplicaSet, StatefulSet
from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Endpoints, Pod
from kybern.client.cache import controller_uid
from kybern.reconcile.pods import is_active, is_ready
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running
from kybern.testing.faults import Faults
from kybern.testing.objects import made

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else list(range(4))
STEPS = 25


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cluster_settles_to_what_was_asked(seed: int) -> None:
    virtual.run(play(seed))


async def play(seed: int) -> None:
    rng = random.Random(seed)
    faults = Faults(lost_request=0.05, lost_answer=0.05, broken_watch=0.05, slow_seconds=0.2)
    async with running(("n1", "n2", "n3"), seed=seed, faults=faults) as cluster:
        await cluster.advance(60)
        wanted = await begin(cluster)
        for _ in range(STEPS):
            await cluster.advance(rng.random() * 20)
            await disturb(cluster, rng, wanted)
        faults.stop()
        await cluster.advance(1200)
        await cluster.settle()
        await check(cluster, wanted)


async def begin(cluster: Cluster) -> dict[str, int]:
    create = cluster.client.create
    await create(made("deployment", "web", {"replicas": "3"}))
    await create(made("service", "web", {}))
    await create(made("statefulset", "db", {"replicas": "2"}))
    await create(made("replicaset", "plain", {"replicas": "4"}))
    await create(made("job", "work", {"spec.completions": "20", "spec.parallelism": "3", "pod.runs-seconds": "4"}))
    return {"web": 3, "db": 2, "plain": 4}


async def disturb(cluster: Cluster, rng: random.Random, wanted: dict[str, int]) -> None:
    kinds = {"web": Deployment, "db": StatefulSet, "plain": ReplicaSet}
    name = rng.choice(sorted(kinds))
    match rng.choice(("scale", "image", "kill", "delete", "delete")):
        case "scale":
            wanted[name] = rng.randrange(6)
            await cluster.client.patch(kinds[name], name, "default", {"spec": {"replicas": wanted[name]}})
        case "image":
            container = {"name": "main", "image": f"{name}:{rng.randrange(3)}"}
            patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
            await cluster.client.patch(kinds[name], name, "default", patch)
        case "kill":
            cluster.control.kill()
            await cluster.advance(rng.random() * 5)
            cluster.control.start()
        case "delete":
            pods = [pod for pod in await cluster.client.list(Pod, "default") if controller_uid(pod)]
            victims = [pod for pod in pods if not (pod.metadata.name or "").startswith("work")]
            if victims:
                await cluster.client.delete(Pod, rng.choice(victims).metadata.name or "", "default")


async def check(cluster: Cluster, wanted: dict[str, int]) -> None:
    pods = await cluster.client.list(Pod, "default")
    active = [pod for pod in pods if is_active(pod)]
    for name, replicas in wanted.items():
        mine = [pod for pod in active if (pod.metadata.labels or {}).get("app") == name]
        assert len(mine) == replicas, f"{name}: {len(mine)} pods instead of {replicas}"
        assert all(map(is_ready, mine))
    await check_owners(cluster, pods)
    await check_web(cluster, active, wanted["web"])
    job = await cluster.client.get(Job, "work", "default")
    assert (job.status.succeeded, job.status.failed) == (20, None)
    assert sum(pod.status.phase == "Succeeded" for pod in pods) == 20


async def check_owners(cluster: Cluster, pods: list[Pod]) -> None:
    owners = {
        found.metadata.uid
        for of in (ReplicaSet, StatefulSet, Job)
        for found in await cluster.client.list(of, "default")  # type: ignore[attr-defined, misc]
    }
    assert all(controller_uid(pod) in owners for pod in pods)


async def check_web(cluster: Cluster, active: list[Pod], replicas: int) -> None:
    deployment = await cluster.client.get(Deployment, "web", "default")
    images = {pod.spec.containers[0].image for pod in active if (pod.metadata.labels or {}).get("app") == "web"}
    assert images <= {deployment.spec.template.spec.containers[0].image}
    assert (deployment.status.available_replicas or 0) == replicas
    addresses = {pod.status.pod_ip for pod in active if (pod.metadata.labels or {}).get("app") == "web"}
    endpoints = await cluster.client.get(Endpoints, "web", "default")
    told = {address.ip for subset in endpoints.subsets or () for address in subset.addresses or ()}
    assert told == addresses
