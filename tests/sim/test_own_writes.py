"""Goal: a View is never older than its loop's own writes, deletions above all, whatever the network loses. Method: a loop
that counts what it sees and makes or deletes the difference, over a network that loses requests and answers, breaks watches
and is slow; had it looked at an older state even once, it would have made or deleted one too many.
"""

import random

import pytest

from kybern.api.core_v1 import ConfigMap
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key, at_once, slow_start
from kybern.reconcile.controller import Watch
from kybern.testing import virtual
from kybern.testing.cluster import running
from kybern.testing.faults import Faults

OF = {"of": "wanted"}
ROUNDS = 6


async def reconcile(wanted: ConfigMap, view: View, client: Client, context: Context) -> None:
    if wanted.metadata.name != "wanted":
        return
    there = [found for found in view.list(ConfigMap, "default") if found.metadata.labels == OF]
    missing = int((wanted.data or {})["number"]) - len(there)

    async def create(_: int) -> None:
        await client.create(ConfigMap(metadata=ObjectMeta(generate_name="one-", namespace="default", labels=OF)))

    async def delete(one: ConfigMap) -> None:
        await client.delete(ConfigMap, one.metadata.name or "", "default", uid=one.metadata.uid or "")

    _, refused = await slow_start(range(missing), create)
    context.ids.rng.shuffle(there)  # another choice each time: deleting the same one twice would do no harm
    _, stuck = await at_once(there[: max(-missing, 0)], delete)
    if refused or stuck:
        raise refused or stuck  # type: ignore[misc]


COUNTER = Controller(
    name="counter",
    reconciles=ConfigMap,
    by=reconcile,
    watches=(Watch(ConfigMap, lambda one, view: (Key("default", "wanted"),)),),
)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_made_or_deleted_twice(seed: int) -> None:
    virtual.run(play(seed))


async def play(seed: int) -> None:
    rng = random.Random(seed)
    faults = Faults(lost_request=0.1, lost_answer=0.2, broken_watch=0.1, slow_seconds=0.3)
    made: set[str] = set()
    deleted: set[str] = set()

    def note(old: ConfigMap | None, new: ConfigMap | None) -> None:
        if (new or old).metadata.labels == OF:  # type: ignore[union-attr]
            (made if new is not None else deleted).add((new or old).metadata.uid or "")  # type: ignore[union-attr]

    async with running((), loops=(COUNTER,), seed=seed, faults=faults) as cluster:
        cluster.view.watch_kind(ConfigMap)
        cluster.view.on_change(ConfigMap, note)
        number = more = fewer = 0
        await cluster.client.create(
            ConfigMap(metadata=ObjectMeta(name="wanted", namespace="default"), data={"number": "0"})
        )
        for _ in range(ROUNDS):
            change = rng.randrange(1, 30) if number < 10 else -rng.randrange(1, number)
            number, more, fewer = number + change, more + max(change, 0), fewer + max(-change, 0)
            await cluster.client.patch(ConfigMap, "wanted", "default", {"data": {"number": str(number)}})
            await cluster.advance(300)
            assert (len(made), len(deleted)) == (more, fewer)
