"""What no author should write: the pod waits with a clear reason, or is placed; the others go on."""

from typing import Any

import pytest
from msgspec import ValidationError

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Pod
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.scheduler import Scheduler
from kybern.testing.cluster import running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def pod(name: str, cpu: str = "1", labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    container = {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


@pytest.mark.parametrize("amount", ["NaN", "inf", "-inf", "1e999999", "many", ""])
def test_an_amount_that_is_none_never_reaches_the_scheduler(amount: str) -> None:
    with pytest.raises(ValidationError):
        pod("p", amount)


def term(number: int, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": f"a{number}"}}, "topologyKey": key}


def far(*terms: Any) -> dict[str, Any]:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def near(*terms: Any) -> dict[str, Any]:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


ODD = {
    "a-thousand-terms": pod("a-thousand-terms", affinity=far(*map(term, range(1000)))),
    "a-thousand-wishes": pod("a-thousand-wishes", affinity=near(*map(term, range(1000)))),
    "a-label-for-everybody": pod("a-label-for-everybody", labels={f"label-{n}": "x" * 63 for n in range(2000)}),
    "nowhere": pod("nowhere", nodeSelector={"kubernetes.io/hostname": "n1", "kubernetes.io/os": "plan9"}),
    "far-from-itself": pod("far-from-itself", labels={"app": "a1"}, affinity={**near(term(1)), **far(term(1))}),
}
WAIT = {"a-thousand-wishes", "nowhere"}


def test_pods_that_ask_for_the_odd_wait_or_run_and_the_others_run() -> None:
    async def story() -> None:
        async with running(nodes=("n1", "n2"), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            cluster.control.running += [cluster.tasks.create_task(part) for part in (events.run(), scheduler.run())]
            await cluster.settle()
            for name, odd in ODD.items():
                await cluster.client.create(odd)
                await cluster.client.create(pod(f"after-{name}"))
            await cluster.settle()
            found = {one.metadata.name: one.spec.node_name for one in await cluster.client.list(Pod, "default")}
            assert {name for name, where in found.items() if not where} == WAIT
            told = {e.involved_object.name for e in await cluster.client.list(Event, "default") if e.type == "Warning"}
            assert told >= WAIT

    run(story())
