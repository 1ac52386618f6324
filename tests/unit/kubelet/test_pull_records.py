"""E32: an image that one pod's secret pulled is not for pods that could not have pulled it, whatever their pull policy."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Container, LocalObjectReference, ObjectMeta, Secret
from kybern.kubelet.credentials import Login, SecretUsed
from kybern.kubelet.image_collection import ImageCollection
from kybern.kubelet.pull_records import ALLOWLISTED, ALWAYS, NEVER, PRELOADED, PullPolicy, PullRecords
from kybern.runtime.cri import AuthConfig, Image, RuntimeFault
from kybern.runtime.simulated import Simulated

IMAGE, ID = "reg.example/team/app:1", "sha256:reg.example/team/app:1"


class Private(Simulated):
    """A registry that knows one password."""

    async def pull_image(self, image: str, auth: AuthConfig | None = None) -> str:
        if auth is None or auth.password != "good":
            raise RuntimeFault("ErrImagePull", "unauthorized")
        return await super().pull_image(image, auth)


def secret(name: str, password: str) -> Secret:
    config = {"auths": {"reg.example": {"username": "me", "password": password}}}
    data = {".dockerconfigjson": b64encode(json.dumps(config).encode()).decode()}
    return Secret(metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"), data=data)


async def bound(cluster: Any, lab: Any, name: str, of: str = "", policy: str = "IfNotPresent") -> str:
    """The reason that the pod waits for; empty once it runs."""
    references = (LocalObjectReference(name=of),) if of else None
    container = Container(name="web", image=IMAGE, image_pull_policy=policy)
    cluster.api.bind(lab.pod(name, container, image_pull_secrets=references))

    def outcome() -> str | None:
        status = cluster.api.pod(name).status
        if status.phase == "Running":
            return ""
        waiting = [s.state.waiting for s in status.container_statuses or () if s.state and s.state.waiting]
        return next((w.reason for w in waiting if w.reason not in ("ContainerCreating", "PodInitializing")), None)

    await cluster.until(lambda: outcome() is not None)
    return str(outcome())


def test_a_private_image_is_only_for_pods_that_have_its_secret_or_may_pull_it(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Private(LoopClock())) as cluster:
            for each in (secret("s", "good"), secret("same", "good"), secret("wrong", "bad")):
                cluster.api.put(f"/api/v1/namespaces/default/secrets/{each.metadata.name}", to_builtins(each))
            assert await bound(cluster, lab, "owner", "s") == ""
            assert await bound(cluster, lab, "stranger") == "ErrImagePull"
            assert await bound(cluster, lab, "guesser", "wrong") == "ErrImagePull"
            assert await bound(cluster, lab, "sly", policy="Never") == "ErrImageNeverPull"
            assert await bound(cluster, lab, "colleague", "same", policy="Never") == ""
            await cluster.kubelet.parts.recorder.flush()
            assert (
                "Pulled",
                f'Container image "{IMAGE}" already present on machine and can be accessed by the pod',
            ) in (cluster.api.events())

    lab.simulate(scenario)


def test_without_the_verification_everybody_has_it(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Private(LoopClock()), pull_policy=PullPolicy(NEVER)) as cluster:
            owned = secret("s", "good")
            cluster.api.put("/api/v1/namespaces/default/secrets/s", to_builtins(owned))
            assert await bound(cluster, lab, "owner", "s") == ""
            assert await bound(cluster, lab, "stranger") == ""
            assert await bound(cluster, lab, "sly", policy="Never") == ""

    lab.simulate(scenario)


def test_what_was_loaded_is_everybodys_unless_told_otherwise(lab: Any) -> None:
    async def scenario(policy: PullPolicy) -> str:
        runtime = Private(LoopClock())
        runtime.images[IMAGE] = Image(id=ID, repo_tags=(IMAGE,))
        async with lab.cluster(runtime=runtime, pull_policy=policy) as cluster:
            return await bound(cluster, lab, "p")

    async def scenarios() -> None:
        assert await scenario(PullPolicy(PRELOADED)) == ""
        assert await scenario(PullPolicy(ALWAYS)) == "ErrImagePull"
        assert await scenario(PullPolicy(ALLOWLISTED, ("reg.example/team/*",))) == ""
        assert await scenario(PullPolicy(ALLOWLISTED, ("reg.example/team",))) == "ErrImagePull"

    lab.simulate(scenarios)


def login(name: str, digest: str = "h") -> Login:
    return Login(AuthConfig(), SecretUsed("u", "n", name, digest))


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


def pulled(directory: str, by: Login | None) -> None:
    records = PullRecords(directory, PullPolicy())
    records.began(IMAGE)
    records.pulled(IMAGE, ID, by)


@pytest.mark.parametrize(
    ("shown", "may"),
    [
        ((), False),
        ((login("a"),), True),
        ((login("b"),), True),  # the same credentials
        ((login("a", "newer"),), True),  # the same secret, whose credentials were changed
        ((login("b", "other"),), False),
        ((Login(AuthConfig(password="x")),), False),
    ],
)
def test_who_may_is_known_after_a_restart(directory: str, shown: tuple[Login, ...], may: bool) -> None:
    pulled(directory, login("a"))
    records = PullRecords(directory, PullPolicy())
    assert records.may_use(IMAGE, ID, shown) == may
    assert not records.may_use("elsewhere.example/app:1", ID, shown)  # it may be private there to somebody else
    assert records.may_use("reg.example/team/app@sha256:1", ID, shown) == may


def test_what_was_pulled_without_a_secret_is_everybodys_from_then_on(directory: str) -> None:
    pulled(directory, login("a"))
    pulled(directory, None)
    pulled(directory, login("b"))
    assert PullRecords(directory, PullPolicy()).may_use(IMAGE, ID, ())


def test_a_pull_that_a_killed_kubelet_had_begun_makes_nothing_public(directory: str) -> None:
    PullRecords(directory, PullPolicy()).began(IMAGE)
    records = PullRecords(directory, PullPolicy())
    records.settle(IMAGE, ID)
    assert not records.may_use(IMAGE, ID, ()) and not PullRecords(directory, PullPolicy()).may_use(IMAGE, ID, ())
    records.forget(records.names(), ())
    assert PullRecords(directory, PullPolicy()).may_use(IMAGE, ID, ())  # it is gone, and whatever comes is another


def test_a_pull_that_failed_leaves_no_trace(directory: str) -> None:
    records = PullRecords(directory, PullPolicy())
    records.began(IMAGE)
    assert not records.may_use(IMAGE, ID, ())
    records.failed(IMAGE)
    assert records.may_use(IMAGE, ID, ()) and PullRecords(directory, PullPolicy()).may_use(IMAGE, ID, ())
    assert not any(path.is_file() for path in Path(directory).rglob("*"))


@pytest.mark.parametrize("kept", ["pulled-images", "pulling-images"])
def test_what_a_lost_machine_cut_short_makes_nothing_public(directory: str, kept: str) -> None:
    pulled(directory, login("a"))
    PullRecords(directory, PullPolicy()).began("reg.example/other:1")
    for path in Path(directory, kept).iterdir():
        path.write_bytes(b"")
    records = PullRecords(directory, PullPolicy())
    records.settle("reg.example/other:1", "other")
    assert not records.may_use(IMAGE, ID, ()) and not records.may_use("reg.example/other:1", "other", ())
    records.pulled(IMAGE, ID, login("a"))
    assert PullRecords(directory, PullPolicy()).may_use(IMAGE, ID, (login("a"),))


class Slow(Private):
    """Its list of images is of a moment ago when it comes."""

    async def list_images(self) -> Sequence[Image]:
        listed = await super().list_images()
        await self.clock.sleep(30.0)
        return listed


def test_an_image_that_comes_while_the_others_are_listed_keeps_its_record(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Slow(LoopClock())) as cluster:
            owned = secret("s", "good")
            cluster.api.put("/api/v1/namespaces/default/secrets/s", to_builtins(owned))
            async with asyncio.TaskGroup() as looking:
                looking.create_task(ImageCollection(cluster.kubelet.parts).look())
                assert await bound(cluster, lab, "owner", "s") == ""
            assert await bound(cluster, lab, "stranger") == "ErrImagePull"

    lab.simulate(scenario)
