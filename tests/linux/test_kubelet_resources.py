"""What the kernel enforces for pods: their cgroups, seen from the machine, while the pods run."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import EmptyDirVolumeSource, Pod, ResourceRequirements, Volume
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.kubelet.topology.cpus import CpuPolicy
from kybern.kubelet.topology.machine import cpus_text
from kybern.linux import cgroup_detect
from kybern.linux.cgroups_v1 import V1
from kybern.linux.cgroups_v2 import weight

pytestmark = pytest.mark.linux

FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.05; done"


def asked(**given: str) -> ResourceRequirements:
    found = {name: Quantity(text) for name, text in given.items()}
    return ResourceRequirements(requests=found, limits=found)


def enforced(path: str) -> tuple[int, int]:
    """CPU quota (of 100 ms) and bytes of memory of a group, whichever cgroups there are."""
    groups = cgroup_detect.detect()
    if isinstance(groups, V1):
        cpu, memory = groups.hierarchies["cpu"] + path, groups.hierarchies["memory"] + path
        quota = Path(cpu, "cpu.cfs_quota_us").read_text()
        return int(quota), int(Path(memory, "memory.limit_in_bytes").read_text())
    root = Path("/sys/fs/cgroup" + path)
    return int((root / "cpu.max").read_text().split()[0]), int((root / "memory.max").read_text())


async def test_a_resize_reaches_the_cgroups_of_a_running_container(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            wanted = node_lab.pod("grows", FOREVER, {}, of_main={"resources": asked(cpu="100m", memory="64Mi")})
            await client.create(wanted)
            pod = await here.until("grows", lambda pod: pod.status.phase == "Running")
            around = f"{here.kubelet.config.cgroup_root}/pod{pod.metadata.uid}"
            own = f"{around}/{container(pod).removeprefix('kybern://')}"
            assert enforced(own) == enforced(around) == (10_000, 64 << 20)
            for cpu, memory, quota, size in (("300m", "128Mi", 30_000, 128), ("50m", "32Mi", 5_000, 32)):
                change = {"cpu": cpu, "memory": memory}
                patch = {
                    "spec": {"containers": [{"name": "main", "resources": {"requests": change, "limits": change}}]}
                }
                await client.patch(Pod, "grows", "default", patch, how="strategic", subresource="resize")
                settled = await here.until("grows", lambda pod, change=change: is_given(pod, change))
                assert container(settled) == container(pod)
                assert enforced(own) == enforced(around) == (quota, size << 20)
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_who_takes_more_memory_than_allowed_is_killed_and_says_so(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            script = "exec tail /dev/zero"
            limited = ResourceRequirements(limits={"memory": Quantity("32Mi")})
            await client.create(
                node_lab.pod("hungry", script, {}, of_main={"resources": limited}, restart_policy="Never")
            )
            ended = await here.until("hungry", lambda pod: pod.status.phase == "Failed")
            (status,) = ended.status.container_statuses or ()
            assert status.state is not None and status.state.terminated is not None
            assert (status.state.terminated.reason, status.state.terminated.exit_code) == ("OOMKilled", 137)
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_a_pod_that_fills_more_of_the_disk_than_allowed_is_evicted(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            cache = Volume(name="cache", empty_dir=EmptyDirVolumeSource(size_limit=Quantity("1Mi")))
            script = f"head -c 3000000 /dev/zero > /mnt/cache/big; echo full; {FOREVER}"
            await client.create(node_lab.pod("greedy", script, {"cache": cache}))
            pod = await here.until("greedy", lambda pod: pod.status.phase == "Running")
            await here.said(pod, "full")
            await here.kubelet.eviction.look()
            ended = await here.until("greedy", lambda pod: pod.status.phase == "Failed")
            assert ended.status.reason == "Evicted"
            assert ended.status.message == 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". '
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_when_all_pods_together_come_near_their_limit_one_is_evicted_before_the_kernel_kills(
    node_lab: Any, tmp_path: Path
) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            here.kubelet.qos.memory_bytes_max = 150 << 20  # as on a node with little of a large machine
            memory = Volume(name="memory", empty_dir=EmptyDirVolumeSource(medium="Memory"))
            await client.create(node_lab.pod("modest", f"echo here; {FOREVER}", {}))
            script = f"head -c {60 << 20} /dev/zero > /mnt/memory/big; echo full; {FOREVER}"
            await client.create(node_lab.pod("greedy", script, {"memory": memory}))
            greedy = await here.until("greedy", lambda pod: pod.status.phase == "Running")
            await here.said(greedy, "full")
            await here.kubelet.eviction.look()
            ended = await here.until("greedy", lambda pod: pod.status.phase == "Failed")
            assert ended.status.reason == "Evicted"
            assert (ended.status.message or "").startswith(
                "The node was low on resource: memory. Threshold quantity: 100Mi, "
            )
            assert (await client.get(Pod, "modest", "default")).status.phase == "Running"
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_a_container_with_a_cpu_of_its_own_shares_it_with_nobody(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            managed = here.kubelet.parts.cpus
            cpus = managed.machine.cpus
            managed.policy = CpuPolicy(static=True)
            managed.reserved = managed.every - {cpus[-1].number}
            allowed = "grep Cpus_allowed_list /proc/self/status | cut -f2; sleep 0.1"
            await client.create(node_lab.pod("shares", f"while true; do {allowed}; done", {}))
            first = await here.until("shares", lambda pod: pod.status.phase == "Running")
            await here.said(first, cpus_text(cpu.number for cpu in cpus))
            own = asked(cpu="1", memory="64Mi")
            await client.create(node_lab.pod("owns", f"{allowed}; sleep 1000", {}, of_main={"resources": own}))
            second = await here.until("owns", lambda pod: pod.status.phase == "Running")
            await here.said(second, str(cpus[-1].number))
            await here.kubelet.cpusets.settle()
            await here.said(first, cpus_text(cpu.number for cpu in cpus[:-1]))
            await node_lab.remove_all(here)
            assert managed.given.every == {}

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_pods_live_in_the_group_of_their_quality_of_service(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            wants = ResourceRequirements(requests={"cpu": Quantity("250m")})
            await client.create(node_lab.pod("bursts", FOREVER, {}, of_main={"resources": wants}))
            await client.create(node_lab.pod("any", FOREVER, {}))
            for name, level, shares in (("bursts", "burstable", 256), ("any", "besteffort", 2)):
                pod = await here.until(name, lambda pod: pod.status.phase == "Running")
                around = f"{here.kubelet.config.cgroup_root}/{level}"
                assert pids(f"{around}/pod{pod.metadata.uid}/{container(pod).removeprefix('kybern://')}")
                async with asyncio.timeout(5):
                    while shares_of(around) != shares:
                        await asyncio.sleep(0.02)
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


def pids(path: str) -> list[int]:
    return cgroup_detect.detect().pids(path)


def shares_of(path: str) -> int:
    groups = cgroup_detect.detect()
    if isinstance(groups, V1):
        return int(Path(groups.hierarchies["cpu"] + path, "cpu.shares").read_text())
    found = int(Path("/sys/fs/cgroup" + path, "cpu.weight").read_text())
    return next(shares for shares in (2, 256) if weight(shares) == found)


def container(pod: Pod) -> str:
    (status,) = pod.status.container_statuses or ()
    return status.container_id or ""


def is_given(pod: Pod, amounts: dict[str, str]) -> bool:
    (status,) = pod.status.container_statuses or ()
    going = any(c.type.startswith("PodResize") for c in pod.status.conditions or ())
    return status.resources is not None and status.resources.limits == amounts and not going
