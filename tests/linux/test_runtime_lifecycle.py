"""Containers from a pulled image: they start, write logs, are stopped, end, and survive everybody else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, cgroup_of, pod
from warden_process import inventory, native

from kybern.runtime.cri import ContainerState, LinuxResources, RuntimeFault

pytestmark = pytest.mark.linux


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def test_a_container_writes_its_log_in_cri_format(web: Pod) -> None:
    status, lines = await web.finish("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 3, "Error")
    assert sorted(lines) == ["err", "out"]
    streams = {line.split(" ")[3]: line.split(" ")[1:3] for line in web.log(status.id).splitlines()}
    assert streams == {"out": ["stdout", "F"], "err": ["stderr", "F"]}


async def test_a_line_longer_than_16_kib_is_written_in_parts(web: Pod) -> None:
    status, _ = await web.finish("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo")
    parts = [line.split(" ", 3) for line in web.log(status.id).splitlines() if "x" in line.split(" ", 3)[3]]
    assert [part[2] for part in parts] == ["P", "P", "F"]
    assert sum(len(part[3]) for part in parts) == 40000


async def test_stop_sends_the_stop_signal_and_then_kills(web: Pod) -> None:
    polite = await web.run("sh", "-c", "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done")
    async with asyncio.timeout(10):
        while "ready" not in web.log(polite):
            await asyncio.sleep(0.02)
    await web.runtime.stop_container(polite, 10)
    assert (await web.runtime.container_status(polite)).exit_code == 7
    deaf = await web.run("sleep", "1000")  # the first process of a PID namespace ignores what it has no handler for
    await web.runtime.stop_container(deaf, 0.1)
    status = await web.runtime.container_status(deaf)
    assert (status.exit_code, status.signal) == (137, signal.SIGKILL)
    await web.runtime.stop_container(deaf, 0)


async def test_a_program_that_does_not_exist_is_a_start_error(web: Pod) -> None:
    identifier = await web.create("nope")
    with pytest.raises(RuntimeFault, match=r'exec: "nope": executable file not found in \$PATH') as refused:
        await web.runtime.start_container(identifier)
    assert refused.value.reason == "RunContainerError"
    status = await web.runtime.container_status(identifier)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
    assert "executable file not found" in status.message


async def test_more_memory_than_allowed_is_oom_killed(web: Pod) -> None:
    limits = LinuxResources(memory_limit_bytes=16 << 20)
    status, _ = await web.finish("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M", resources=limits)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


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


async def test_a_log_is_reopened_where_it_was_moved_away(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two")
    async with asyncio.timeout(10):
        while "one" not in web.log(identifier):
            await asyncio.sleep(0.02)
    path = Path(web.runtime.records.get(identifier).log_path)
    path.rename(path.with_suffix(".old"))
    await web.runtime.reopen_container_log(identifier)
    await web.runtime.exec_sync(identifier, ["touch", "/tmp/go"], 5)
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert web.lines(identifier) == ["two"]


async def test_events_name_what_changed(web: Pod) -> None:
    events = web.runtime.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    identifier = await web.create("true")
    assert await waiting == identifier
    await events.aclose()  # type: ignore[attr-defined]


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
