"""Containers from a pulled image: they start, write logs, are stopped, end, and survive everybody else."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, cgroup_of, pod
from warden_process import inventory, native

from kybern.runtime.cri import ContainerState, LinuxResources

pytestmark = pytest.mark.linux


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def test_limits_are_what_the_container_sees_and_can_change(web: Pod) -> None:
    limits = LinuxResources(
        memory_limit_bytes=32 << 20, cpu_shares=512, cpu_quota=20_000, cpu_period=100_000, pids_limit=20
    )
    identifier = await web.run("sleep", "1000", resources=limits)
    path = web.runtime.records.get(identifier).spec["linux"]["cgroupsPath"]
    assert web.runtime.cgroups.pids(path) != []
    await web.runtime.update_container_resources(identifier, LinuxResources(memory_limit_bytes=64 << 20))
    seen = await web.runtime.exec_sync(
        identifier, ["sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"], 5
    )
    assert seen.stdout.split() == [str(64 << 20).encode()]
    stats = await web.runtime.container_stats(identifier)
    assert stats.memory_usage_bytes > 0 and stats.pids == 1


async def test_a_fork_bomb_stays_in_its_container(web: Pod) -> None:
    bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done; wait"
    _, lines = await web.finish("sh", "-c", bomb, resources=LinuxResources(pids_limit=10))
    assert any("can't fork" in line for line in lines)


async def test_containers_outlive_the_runtime_and_are_found_again(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    before = (await web.runtime.container_status(identifier)).pid
    await web.runtime.close()
    async with native(web.node) as again:
        status = await again.container_status(identifier)
        assert (status.state, status.pid) == (ContainerState.RUNNING, before)
        assert (await again.list_pod_sandboxes())[0].id == web.sandbox
        await again.stop_container(identifier, 0)


async def test_containers_outlive_the_warden_with_streams_and_exit_code(web: Pod) -> None:
    script = "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 5"
    identifier = await web.run("sh", "-c", script)
    web.node.kill_warden()
    web.node.start_warden()
    await web.runtime.warden.lost.wait()
    await web.runtime.exec_sync(identifier, ["touch", "/tmp/go"], 10)
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert (await web.runtime.container_status(identifier)).exit_code == 5
    assert web.lines(identifier) == ["before", "after"]


async def test_a_container_that_ended_without_a_warden_keeps_its_exit_code(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 6")
    pid = (await web.runtime.container_status(identifier)).pid
    web.node.kill_warden()
    Path(f"/proc/{pid}/root/tmp/go").touch()
    async with asyncio.timeout(10):
        while os.path.exists(f"/proc/{pid}/root/tmp"):
            await asyncio.sleep(0.02)
    web.node.start_warden()
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert (await web.runtime.container_status(identifier)).exit_code == 6


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = inventory(tmp_path, cgroup_of(tmp_path))
    async with pod(tmp_path) as made:
        for _ in range(3):
            await made.run("sleep", "1000")
        held = inventory(tmp_path, cgroup_of(tmp_path))
        assert len(held[0]) > 0 and len(held[1]) == 3
        await made.runtime.remove_pod_sandbox(made.sandbox)
        assert inventory(tmp_path, cgroup_of(tmp_path))[:2] == before[:2]
        assert (await made.runtime.list_containers(), await made.runtime.list_pod_sandboxes()) == ([], [])
    assert inventory(tmp_path, cgroup_of(tmp_path)) == before


async def test_what_a_killed_node_leaves_is_cleaned_up(tmp_path: Path) -> None:
    before = inventory(tmp_path, cgroup_of(tmp_path))
    async with pod(tmp_path) as made:
        for _ in range(3):
            await made.run("sleep", "1000")
    assert inventory(tmp_path, cgroup_of(tmp_path)) == before
