"""The example of simulated nodes with fake GPUs does what it says, on the whole control plane in virtual time."""

from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from kybern.api.batch_v1 import Job
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.yaml import parse
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.scheduler import Scheduler
from kybern.testing.cluster import running
from kybern.testing.lives import read_settings
from kybern.testing.virtual import run

EXAMPLE = Path(__file__).parents[3] / "examples/02-simulated-nodes"
LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def test_sixteen_trainings_run_at_a_time_and_all_of_them_end() -> None:
    async def main() -> None:
        settings = read_settings(str(EXAMPLE / "nodes.yaml"), 3)
        async with running(nodes=(), loops=LOOPS, settings=settings) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            await cluster.advance(2)
            job = from_builtins(Job, parse((EXAMPLE / "jobs.yaml").read_bytes())[0])
            await cluster.client.create(replace(job, metadata=replace(job.metadata, namespace="default")))
            await cluster.advance(10)
            where = Counter(
                pod.spec.node_name for pod in await cluster.client.list(Pod) if pod.status.phase == "Running"
            )
            assert where == {f"gpu-{number}": 4 for number in range(4)}
            await cluster.advance(300)
            found = await cluster.client.get(Job, "training", "default")
            assert found.status.succeeded == 40
            assert len(await cluster.client.list(Node)) == 7

    run(main())
