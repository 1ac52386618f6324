"""Goal: whatever the owners, exactly what belongs to nobody any more goes. Method: random graphs of objects (circles, several
owners, owners that do not exist or are in another namespace, owners in no namespace), random deletions of all three
policies, several at once, and a model that says what has to be left.

GRAPHS=500 plays as many (`make sim`).
"""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kybern.api.codec import to_builtins
from kybern.api.core_v1 import ConfigMap, Namespace, PodTemplate, Secret
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.api.rbac_v1 import ClusterRole
from kybern.client.paths import kind_of
from kybern.controllers.garbagecollector import GARBAGECOLLECTOR
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running

GRAPHS = int(os.environ.get("GRAPHS", "40"))
AT_A_TIME = 20  # graphs of one cluster, each in namespaces of its own
OBJECTS_MAX = 60
KINDS: tuple[type[Any], ...] = (ConfigMap, ConfigMap, Secret, PodTemplate, ClusterRole)


@dataclass(eq=False)
class Thing:
    obj: Any
    owners: list["Thing | OwnerReference"] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.obj.metadata.namespace or ""

    @property
    def is_out_of_reach(self) -> bool:
        """What is in no namespace cannot be owned by what is in one: nothing is known of it, and it stays."""
        return not self.namespace and any(isinstance(owner, OwnerReference) or owner.namespace for owner in self.owners)

    def is_owner_of(self, other: "Thing") -> bool:
        """An owner is in the same namespace, or in none."""
        return self.namespace in ("", other.namespace)


@dataclass
class Model:
    """What is there. An object that has owners goes when none of them is there."""

    things: list[Thing]

    def settle(self) -> None:
        while doomed := [thing for thing in self.things if thing.owners and not self.keeping(thing)]:
            self.things = [thing for thing in self.things if thing not in doomed]
        for thing in self.things:
            thing.owners = self.keeping(thing)  # references to what is gone are dropped

    def keeping(self, thing: Thing) -> list[Thing | OwnerReference]:
        """Of its owners those for whose sake it stays."""
        if thing.is_out_of_reach:
            return thing.owners
        return [
            owner
            for owner in thing.owners
            if isinstance(owner, Thing) and owner in self.things and owner.is_owner_of(thing)
        ]

    def delete(self, gone: Iterable[Thing]) -> None:
        self.things = [thing for thing in self.things if thing not in gone]
        self.settle()

    def orphan(self, gone: Thing) -> None:
        for thing in self.things:
            thing.owners = [owner for owner in thing.owners if owner is not gone]
        self.delete([gone])

    def uids(self) -> set[str]:
        return {thing.obj.metadata.uid for thing in self.things}


@pytest.mark.parametrize("first", range(0, GRAPHS, AT_A_TIME))
def test_what_is_left_is_what_the_model_says(first: int) -> None:
    virtual.run(play(range(first, min(first + AT_A_TIME, GRAPHS))))


async def play(seeds: range) -> None:
    async with running((), loops=(GARBAGECOLLECTOR,), seed=seeds.start) as cluster:
        before = await there(cluster)
        for seed in seeds:
            rng = random.Random(seed)
            model = Model(await grown(cluster, seed, rng))
            model.settle()
            await cluster.settle()
            assert (await there(cluster)) - before == model.uids(), f"graph {seed}, as it was made"
            while model.things:
                await delete_some(cluster, model, rng)
                await cluster.settle()
                assert (await there(cluster)) - before == model.uids(), f"graph {seed}"


async def there(cluster: Cluster) -> set[str]:
    return {obj.metadata.uid or "" for of in set(KINDS) for obj in await cluster.client.list(of)}


async def grown(cluster: Cluster, seed: int, rng: random.Random) -> list[Thing]:
    namespaces = [f"graph-{seed}-{letter}" for letter in "ab"]
    for name in namespaces:
        await cluster.client.create(Namespace(metadata=ObjectMeta(name=name)))
    things = [await made(cluster, seed, number, namespaces, rng) for number in range(rng.randrange(1, OBJECTS_MAX))]
    for thing in rng.sample(things, len(things)):
        thing.owners = owners_for(thing, things, rng)
        refs = [to_builtins(reference(owner, thing, rng)) for owner in thing.owners]
        meta = thing.obj.metadata
        patch = {"metadata": {"uid": meta.uid, "ownerReferences": refs}}
        await cluster.client.patch(type(thing.obj), meta.name, meta.namespace or "", patch)
    return things


async def made(cluster: Cluster, seed: int, number: int, namespaces: list[str], rng: random.Random) -> Thing:
    of = rng.choice(KINDS)
    namespace = rng.choice(namespaces) if kind_of(of).namespaced else None
    meta = ObjectMeta(name=f"graph-{seed}-{number}", namespace=namespace)
    return Thing(await cluster.client.create(of(metadata=meta)))


def owners_for(thing: Thing, things: list[Thing], rng: random.Random) -> list["Thing | OwnerReference"]:
    number = rng.choice((0, 0, 1, 1, 1, 2, 3))
    near = [other for other in things if other.is_owner_of(thing) or rng.random() < 0.1]
    found: list[Thing | OwnerReference] = list(rng.sample(near, min(number, len(near))))
    if found and rng.random() < 0.1:
        missing = OwnerReference(api_version="v1", kind="ConfigMap", name="missing", uid=f"missing-{rng.random()}")
        found.insert(rng.randrange(len(found) + 1), missing)
    return found


def reference(owner: Thing | OwnerReference, of: Thing, rng: random.Random) -> OwnerReference:
    if isinstance(owner, OwnerReference):
        return owner
    meta, blocking = owner.obj.metadata, not of.is_out_of_reach and rng.random() < 0.6
    return OwnerReference(
        api_version=owner.obj.api_version,
        kind=owner.obj.kind,
        name=meta.name,
        uid=meta.uid,
        block_owner_deletion=blocking or None,
    )


async def delete_some(cluster: Cluster, model: Model, rng: random.Random) -> None:
    """Several at once, or one whose dependents are to stay."""
    if rng.random() < 0.3:
        orphaned = rng.choice(model.things)
        await delete(cluster, orphaned, "Orphan")
        model.orphan(orphaned)
        return
    doomed = rng.sample(model.things, min(rng.randrange(1, 4), len(model.things)))
    for thing in doomed:
        await delete(cluster, thing, rng.choice(("Background", "Foreground")))
    model.delete(doomed)


async def delete(cluster: Cluster, thing: Thing, policy: str) -> None:
    meta = thing.obj.metadata
    await cluster.client.delete(type(thing.obj), meta.name, meta.namespace or "", uid=meta.uid, propagation=policy)
