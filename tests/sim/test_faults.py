"""Goal: whatever is lost on the way, the cluster ends up as it was asked to be. Method: random changes to a simulated
cluster whose controllers talk over a bad network and are killed at any of their awaits, from a seed; then the network is
good again, the cluster settles, and what is there is compared with what was asked.

SEEDS=200 plays as many (`make sim`); a failing run says how it is played again.
"""

import os
import random
from functools import partial

import pytest

from kybern.api.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from kybern.api.batch_v1 import CronJob, Job
from kybern.api.core_v1 import ConfigMap, Endpoints, Namespace, Pod
from kybern.client.cache import controller_uid
from kybern.reconcile.pods import is_active, is_ready
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running
from kybern.testing.faults import Faults
from kybern.testing.objects import made

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else list(range(int(os.environ.get("SEEDS", "4"))))
STEPS = 25
DOWN_SECONDS_MAX = 5.0
KINDS = {"web": Deployment, "db": StatefulSet, "plain": ReplicaSet}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cluster_settles_to_what_was_asked(seed: int) -> None:
    try:
        virtual.run(play(seed))
    except BaseException as error:
        error.add_note(f"to play it again: SEED={seed} .venv/bin/python -m pytest {os.path.relpath(__file__)}")
        raise


async def play(seed: int) -> None:
    rng = random.Random(seed)
    faults = Faults(lost_request=0.05, lost_answer=0.05, broken_watch=0.05, slow_seconds=0.2, killed=0.003)
    async with running(("n1", "n2", "n3"), seed=seed, faults=faults) as cluster:
        faults.kill = partial(restart, cluster, rng)
        await cluster.advance(60)
        wanted = await begin(cluster)
        for _ in range(STEPS):
            await cluster.advance(rng.random() * 20)
            await disturb(cluster, rng, wanted)
        faults.stop()
        await cluster.client.delete(Namespace, "short")
        await cluster.client.patch(CronJob, "tick", "default", {"spec": {"suspend": True}})
        await cluster.advance(1200)
        await cluster.settle()
        await check(cluster, wanted)


def restart(cluster: Cluster, rng: random.Random) -> None:
    """A control process is killed; a moment later there is another one."""
    killed = cluster.control
    killed.kill()
    cluster.control = cluster.control_process("")
    cluster.tasks.create_task(start_later(cluster, rng.random() * DOWN_SECONDS_MAX, of=cluster.control))


async def start_later(cluster: Cluster, seconds: float, of: object) -> None:
    await cluster.advance(seconds)
    if cluster.control is of:
        cluster.control.start()


async def begin(cluster: Cluster) -> dict[str, int]:
    for kind, name, options in (
        ("deployment", "web", {"replicas": "3"}),
        ("service", "web", {}),
        ("statefulset", "db", {"replicas": "2"}),
        ("replicaset", "plain", {"replicas": "4"}),
        ("daemonset", "agent", {}),
        ("job", "work", {"spec.completions": "20", "spec.parallelism": "3", "pod.runs-seconds": "4"}),
        ("cronjob", "tick", {"schedule": "*_*_*_*_*", "pod.runs-seconds": "5"}),
        ("namespace", "short", {}),
        ("deployment", "gone", {"namespace": "short", "replicas": "2"}),
    ):
        await cluster.client.create(made(kind, name, options))
    return {"web": 3, "db": 2, "plain": 4}


async def disturb(cluster: Cluster, rng: random.Random, wanted: dict[str, int]) -> None:
    name = rng.choice(sorted(KINDS))
    match rng.choice(("scale", "image", "kill", "delete", "delete", "daemons")):
        case "scale":
            wanted[name] = rng.randrange(6)
            await cluster.client.patch(KINDS[name], name, "default", {"spec": {"replicas": wanted[name]}})
        case "image":
            await set_image(cluster, KINDS[name], name, f"{name}:{rng.randrange(3)}")
        case "daemons":
            await set_image(cluster, DaemonSet, "agent", f"agent:{rng.randrange(3)}")
        case "kill":
            restart(cluster, rng)
        case "delete":
            pods = [pod for pod in await cluster.client.list(Pod, "default") if controller_uid(pod)]
            victims = [pod for pod in pods if not (pod.metadata.name or "").startswith("work")]
            if victims:
                await cluster.client.delete(Pod, rng.choice(victims).metadata.name or "", "default")


async def set_image(cluster: Cluster, of: type, name: str, image: str) -> None:  # type: ignore[type-arg]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}
    await cluster.client.patch(of, name, "default", patch)


async def check(cluster: Cluster, wanted: dict[str, int]) -> None:
    pods = await cluster.client.list(Pod, "default")
    active = [pod for pod in pods if is_active(pod)]
    for name, replicas in {**wanted, "agent": 3}.items():
        mine = [pod for pod in active if (pod.metadata.labels or {}).get("app") == name]
        assert len(mine) == replicas, f"{name}: {len(mine)} pods instead of {replicas}"
        assert all(map(is_ready, mine))
        template = (await cluster.client.get({**KINDS, "agent": DaemonSet}[name], name, "default")).spec.template
        images = {pod.spec.containers[0].image for pod in mine}
        assert name == "plain" or images <= {template.spec.containers[0].image}
    await check_owners(cluster, pods)
    await check_web(cluster, active, wanted["web"])
    job = await cluster.client.get(Job, "work", "default")
    assert (job.status.succeeded, job.status.failed) == (20, None)
    assert sum(pod.status.phase == "Succeeded" for pod in pods if pod.metadata.labels["app"] == "work") == 20
    await check_cron(cluster)
    assert "short" not in [found.metadata.name for found in await cluster.client.list(Namespace)]
    assert not await cluster.client.list(Pod, "short")
    assert not await cluster.client.list(ConfigMap, "short")


async def check_cron(cluster: Cluster) -> None:
    """No minute was served twice, and what has ended is no longer told of as active."""
    jobs = [job for job in await cluster.client.list(Job, "default") if job.metadata.name != "work"]
    times = [(job.metadata.annotations or {})["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in jobs]
    assert jobs and len(set(times)) == len(times)
    assert not (await cluster.client.get(CronJob, "tick", "default")).status.active


async def check_owners(cluster: Cluster, pods: list[Pod]) -> None:
    owners = {
        found.metadata.uid
        for of in (ReplicaSet, StatefulSet, DaemonSet, Job)
        for found in await cluster.client.list(of, "default")  # type: ignore[attr-defined, misc]
    }
    assert all(controller_uid(pod) in owners for pod in pods)


async def check_web(cluster: Cluster, active: list[Pod], replicas: int) -> None:
    deployment = await cluster.client.get(Deployment, "web", "default")
    assert (deployment.status.available_replicas or 0) == replicas
    addresses = {pod.status.pod_ip for pod in active if (pod.metadata.labels or {}).get("app") == "web"}
    endpoints = await cluster.client.get(Endpoints, "web", "default")
    told = {address.ip for subset in endpoints.subsets or () for address in subset.addresses or ()}
    assert told == addresses
