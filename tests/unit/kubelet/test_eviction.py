"""Eviction: when a node is short of something, whom that meets, and what is said of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Container, EmptyDirVolumeSource, Node, ResourceRequirements, Toleration, Volume
from kybern.api.shape import Quantity
from kybern.kubelet import image_collection
from kybern.kubelet.admission import refuse
from kybern.kubelet.eviction.ranking import PodUsage, eviction_message, over_limits, ranked
from kybern.kubelet.eviction.thresholds import (
    HARD,
    MEMORY,
    NODE_DISK,
    PIDS,
    PODS_MEMORY,
    Met,
    Observation,
    Threshold,
    conditions_seen,
    due,
    first_met,
    met,
    reserved,
    with_pods,
)
from kybern.kubelet.image_collection import PERIOD_SECONDS as IMAGES_SECONDS
from kybern.kubelet.image_collection import ImageCollection, Seen, removable, seen_now
from kybern.kubelet.machine import container_memory
from kybern.runtime import cri
from kybern.runtime.simulated import Simulated

MI, GI = 1 << 20, 1 << 30


def asking(name: str = "web", **requests: str) -> Container:
    found = {key.replace("_", "-"): Quantity(text) for key, text in requests.items()}
    return Container(name=name, image="web:1", resources=ResourceRequirements(requests=found))


def test_a_share_of_a_large_disk_ends_at_ten_gibibytes() -> None:
    assert not met(HARD, {NODE_DISK: Observation(11 * GI, 1000 * GI)})
    assert [each.threshold.signal for each in met(HARD, {NODE_DISK: Observation(9 * GI, 1000 * GI)})] == [NODE_DISK]
    assert met(HARD, {NODE_DISK: Observation(GI, 20 * GI)}) and not met(HARD, {NODE_DISK: Observation(3 * GI, 20 * GI)})


def test_memory_comes_first_and_a_soft_threshold_after_its_grace_period() -> None:
    soft = Threshold(MEMORY, "1Gi", grace_seconds=30)
    found = met((Threshold(PIDS, "10%"), soft), {PIDS: Observation(1, 1000), MEMORY: Observation(MI, 8 * GI)})
    assert [each.threshold.signal for each in found] == [MEMORY, PIDS]
    since = first_met({}, found, 100.0)
    assert [each.resource for each in due(found, since, 129.0)] == ["pids"]
    since = first_met(since, found, 130.0)
    assert [each.resource for each in due(found, since, 130.0)] == ["memory", "pids"]


def test_what_was_met_is_met_until_as_much_more_is_free() -> None:
    wanted = Threshold(MEMORY, "1Gi", reclaim="512Mi")
    share = Threshold(NODE_DISK, "10%", reclaim="5%")
    little = {MEMORY: Observation(1200 * MI, 8 * GI), NODE_DISK: Observation(12 * GI, 100 * GI)}
    assert met((wanted, share), little) == []
    assert [each.threshold for each in met((wanted, share), little, {wanted, share})] == [wanted, share]
    enough = {MEMORY: Observation(1536 * MI, 8 * GI), NODE_DISK: Observation(15 * GI, 100 * GI)}
    assert met((wanted, share), enough, {wanted, share}) == []


def test_what_the_machine_must_keep_free_its_pods_must_too() -> None:
    soft = Threshold(MEMORY, "1Gi", grace_seconds=30)
    wanted = with_pods((Threshold(MEMORY, "100Mi"), soft, Threshold(PIDS, "10%")))
    assert [each for each in wanted if each.signal == PODS_MEMORY] == [Threshold(PODS_MEMORY, "100Mi")]
    found = met(wanted, {MEMORY: Observation(4 * GI, 8 * GI), PODS_MEMORY: Observation(50 * MI, 2 * GI)})
    assert [(each.resource, each.quantity) for each in found] == [("memory", 100 * MI)]
    assert conditions_seen({}, found, 0.0, 300.0) == {"MemoryPressure": 0.0}


@pytest.mark.parametrize(("kept", "left"), [("1Gi", 7 * GI), ("9Gi", None)])
def test_pods_that_have_no_limit_together_cannot_come_near_it(lab: Any, kept: str, left: int | None) -> None:
    """As a node has none that keeps more for the machine than there is."""

    async def scenario() -> None:
        async with lab.cluster(reserved={"memory": kept}) as cluster:
            found = cluster.kubelet.eviction.observe().get(PODS_MEMORY)
            assert (found.available if found else None) == left

    lab.simulate(scenario)


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        (
            {
                "memory.max": f"{64 * MI}\n",
                "memory.current": f"{40 * MI}\n",
                "memory.stat": f"anon 1\ninactive_file {10 * MI}\n",
            },
            34 * MI,
        ),
        (
            {
                "memory/memory.limit_in_bytes": f"{64 * MI}\n",
                "memory/memory.usage_in_bytes": f"{70 * MI}\n",
                "memory/memory.stat": "total_inactive_file 0\n",
            },
            0,
        ),
    ],
)
def test_a_machine_that_is_a_container_has_what_its_cgroup_may_use(
    tmp_path: Path, files: dict[str, str], left: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert container_memory(str(tmp_path)) == (None if left is None else Observation(left, 64 * MI))


def test_a_condition_outlasts_what_caused_it_by_five_minutes() -> None:
    found = met(HARD, {MEMORY: Observation(MI, 8 * GI)})
    seen = conditions_seen({}, found, 0.0, 300.0)
    assert conditions_seen(seen, [], 299.0, 300.0) == {"MemoryPressure": 0.0}
    assert conditions_seen(seen, [], 300.0, 300.0) == {}


def test_what_eviction_keeps_free_is_not_for_pods() -> None:
    assert reserved(HARD, {"memory": 8 * GI, "ephemeral-storage": 20 * GI}) == {
        "memory": 100 * MI,
        "ephemeral-storage": 2 * GI,
    }


def test_who_takes_more_than_asked_for_goes_first_then_the_least_important_then_the_largest(lab: Any) -> None:
    def usage(name: str, memory: int, asked: str = "0", priority: int = 0) -> PodUsage:
        return PodUsage(lab.pod(name, asking(memory=asked), priority=priority), {"memory": memory * MI})

    found = ranked(
        [
            usage("modest", 10, "100Mi"),
            usage("critical", 4000, priority=2_000_000_000),
            usage("important", 900, priority=10),
            usage("small", 20),
            usage("large", 300),
        ],
        "memory",
    )
    assert [each.pod.metadata.name for each in found] == ["large", "small", "important", "modest"]


def test_the_message_says_what_was_short_and_who_took_it(lab: Any) -> None:
    low = Met(Threshold(MEMORY, "100Mi"), Observation(50 * MI, 8 * GI))
    usage = PodUsage(lab.pod("p", asking(memory="10Mi"), asking("b", memory="1Gi")), {}, {
        "web": {"memory": 300 * MI}, "b": {"memory": MI},
    })  # fmt: skip
    assert eviction_message(low, usage) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container web was using 300Mi, request is 10Mi, has larger consumption of memory. "
    )


@pytest.mark.parametrize(
    ("disk", "volume", "said"),
    [
        (99, 99, ""),
        (101, 0, 'Container web exceeded its local ephemeral storage limit "100Mi". '),
        (0, 101, 'Usage of EmptyDir volume "v" exceeds the limit "100Mi". '),
    ],
)
def test_disk_beyond_a_limit(lab: Any, disk: int, volume: int, said: str) -> None:
    limits = {"ephemeral-storage": Quantity("100Mi")}
    web = Container(name="web", image="web:1", resources=ResourceRequirements(limits=limits))
    cache = Volume(name="v", empty_dir=EmptyDirVolumeSource(size_limit=Quantity("100Mi")))
    used = {"ephemeral-storage": disk * MI}
    assert over_limits(PodUsage(lab.pod("p", web, volumes=(cache,)), used, {"web": used}), {"v": volume * MI}) == said


class Hungry(Simulated):
    """Each container takes what its image is called: `web:300`."""

    async def container_stats(self, container_id: str) -> cri.ContainerStats:
        used = int(self.configs[container_id].user_specified_image.partition(":")[2]) * MI
        return cri.ContainerStats(
            id=container_id, cpu_usage_core_ns=0, memory_working_set_bytes=used, memory_usage_bytes=used
        )


def test_the_node_says_what_it_is_short_of_and_evicts_one_pod_after_the_other(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Hungry(LoopClock())) as cluster:
            for size in (100, 300):
                cluster.api.bind(lab.pod(f"p-{size}", Container(name="web", image=f"web:{size}")))
                await cluster.phase(f"p-{size}", "Running")
            eviction = cluster.kubelet.eviction
            eviction.observe = lambda: {MEMORY: Observation(50 * MI, 8 * GI)}
            await eviction.look()
            await cluster.phase("p-300", "Failed")
            status = cluster.api.pod("p-300").status
            assert status.reason == "Evicted" and status.message.startswith("The node was low on resource: memory.")
            (target,) = [c for c in status.conditions if c.type == "DisruptionTarget"]
            assert (target.status, target.reason) == ("True", "TerminationByKubelet")
            assert cluster.api.pod("p-100").status.phase == "Running"
            await cluster.until(lambda: node_condition(cluster, "MemoryPressure") == "True")
            cluster.api.bind(lab.pod("late"))
            await cluster.phase("late", "Failed")
            assert cluster.api.pod("late").status.reason == "Evicted"
            eviction.observe = lambda: {MEMORY: Observation(GI, 8 * GI)}
            await cluster.kubelet.clock.sleep(301)
            await eviction.look()
            await cluster.until(lambda: node_condition(cluster, "MemoryPressure") == "False")
            await cluster.kubelet.parts.recorder.flush()
            reasons = [reason for reason, _ in cluster.api.events()]
            assert "Evicted" in reasons and "NodeHasInsufficientMemory" in reasons and "EvictionThresholdMet" in reasons

    lab.simulate(scenario)


def test_an_evicted_pod_that_does_not_go_in_time_is_told(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Hungry(LoopClock())) as cluster:
            cluster.api.bind(lab.pod("p", Container(name="web", image="web:300")))
            await cluster.phase("p", "Running")
            cluster.runtime.stop_container = stuck
            cluster.kubelet.eviction.observe = lambda: {MEMORY: Observation(50 * MI, 8 * GI)}
            await cluster.kubelet.eviction.look()
            await cluster.kubelet.parts.recorder.flush()
            text = "Container runtime did not kill the pod within specified grace period."
            assert ("ExceededGracePeriod", text) in cluster.api.events()

    lab.simulate(scenario)


def test_images_that_cannot_be_collected_are_told_the_second_time(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            parts = cluster.kubelet.parts
            cluster.runtime.list_images, parts.node.on_disk = unanswered, True
            collecting = asyncio.create_task(ImageCollection(parts).run())
            seen = []
            for _ in range(3):
                await parts.recorder.flush()
                seen.append(("ImageGCFailed", "no answer") in cluster.api.events())
                await parts.clock.sleep(IMAGES_SECONDS + 1)
            assert seen == [False, False, True]
            collecting.cancel()

    lab.simulate(scenario)


def test_a_disk_that_says_it_has_no_room_at_all_is_told(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_collection, "disk_space", lambda directory: (0, 0))

    async def scenario() -> None:
        async with lab.cluster() as cluster:
            parts = cluster.kubelet.parts
            parts.node.on_disk = True
            collecting = asyncio.create_task(ImageCollection(parts).run())
            await parts.clock.sleep(2 * IMAGES_SECONDS + 1)
            await parts.recorder.flush()
            text = "invalid capacity 0 on image filesystem"
            assert cluster.api.events() == [("InvalidDiskCapacity", text), ("ImageGCFailed", text)]
            collecting.cancel()

    lab.simulate(scenario)


async def stuck(container_id: str, timeout_seconds: float) -> None:
    await asyncio.sleep(10_000)


async def unanswered() -> Any:
    raise cri.RuntimeFault("Unavailable", "no answer")


def node_condition(cluster: Any, kind: str) -> str:
    node = cluster.api.objects["/api/v1/nodes/n1"]
    return next(c["status"] for c in node["status"]["conditions"] if c["type"] == kind)


def test_unused_images_go_before_pods_when_the_disk_is_short(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            await cluster.runtime.pull_image("idle:1")
            left = iter([GI, 15 * GI])
            cluster.kubelet.eviction.observe = lambda: {NODE_DISK: Observation(next(left), 100 * GI)}
            await cluster.kubelet.eviction.look()
            assert list(cluster.runtime.images) == ["web:1"]
            assert cluster.api.pod("web-1").status.phase == "Running"

    lab.simulate(scenario)


@pytest.mark.parametrize(
    ("pressures", "spec", "taken"),
    [
        ({"MemoryPressure"}, {}, False),
        ({"MemoryPressure"}, {"tolerations": (Toleration(operator="Exists"),)}, True),
        ({"DiskPressure"}, {"tolerations": (Toleration(operator="Exists"),)}, False),
        ({"DiskPressure"}, {"priority": 2_000_000_000}, True),
    ],
)
def test_who_may_still_come_to_a_node_that_is_short(lab: Any, pressures: set[str], spec: Any, taken: bool) -> None:
    assert (refuse(lab.pod("p", **spec), Node(), [], pressures) is None) == taken


def test_the_image_used_longest_ago_goes_first_and_a_new_one_stays() -> None:
    images = [cri.Image(id=name) for name in ("old", "older", "used", "new", "kept")]
    images[-1] = cri.Image(id="kept", pinned=True)
    before = {"old": Seen(0, 50), "older": Seen(0, 10), "used": Seen(0), "kept": Seen(0)}
    seen = seen_now(before, images, {"used"}, 1000.0)
    unused = [image for image in images if image.id != "used"]
    assert [image.id for image in removable(unused, seen, 1000.0 - 120.0)] == ["older", "old"]
