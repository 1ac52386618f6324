"""kill -9 of the warden at any moment: running containers stay as they are, and nothing is leaked."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, cgroup_of, pod
from warden_process import inventory, native

from kybern.linux import mounts, processes
from kybern.runtime.cri import ContainerState, RuntimeFault, SandboxState

pytestmark = pytest.mark.linux

ROUNDS = 12
LATEST_SECONDS = 0.12  # about what a start, an exec and a stop take together


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def one_life(web: Pod) -> None:
    try:
        identifier = await web.run("sleep", "1000")
        await web.runtime.exec_sync(identifier, ["true"], 10)
        await web.runtime.remove_container(identifier)
    except RuntimeFault:
        pass  # the kill came in between: the kubelet would try again


async def test_kills_at_random_moments_leave_running_containers_alone(web: Pod, tmp_path: Path) -> None:
    chance = random.Random(7)
    steady = await web.run("sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done")
    pid = (await web.runtime.container_status(steady)).pid
    for _ in range(ROUNDS):
        life = asyncio.ensure_future(one_life(web))
        await asyncio.sleep(chance.uniform(0, LATEST_SECONDS))
        web.node.kill_warden()
        web.node.start_warden()
        await life
    await web.runtime.exec_sync(steady, ["true"], 10)
    status = await web.runtime.container_status(steady)
    assert (status.state, status.pid) == (ContainerState.RUNNING, pid)
    written = web.lines(steady)
    assert written == [str(number) for number in range(1, len(written) + 1)]
    for other in await web.runtime.list_containers():
        if other.id != steady:
            await web.runtime.remove_container(other.id)
    trees = [Path(f"{root}{cgroup_of(tmp_path)}") for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids")]
    left = [found.name for tree in trees for found in tree.glob("*/")]
    assert left == [steady]
    await web.runtime.remove_pod_sandbox(web.sandbox)
    assert inventory(tmp_path, cgroup_of(tmp_path))[:2] == ([], [])


async def test_a_container_that_is_stopped_while_it_starts_does_not_run(web: Pod) -> None:
    identifier = await web.create("sleep", "1000")
    starting = asyncio.ensure_future(web.runtime.start_container(identifier))
    await asyncio.sleep(0)  # the warden is asked
    await web.runtime.stop_container(identifier, 0)
    await asyncio.gather(starting, return_exceptions=True)
    assert (await web.runtime.container_status(identifier)).state is ContainerState.EXITED
    await web.runtime.remove_container(identifier)


async def test_what_an_agent_had_half_made_or_half_removed_when_it_was_killed_is_gone(web: Pod) -> None:
    kept = await web.create("sleep", "1000")
    containers, sandboxes = web.node.data / "containers", web.node.data / "sandboxes"
    (containers / ("1" * 64) / "upper").mkdir(parents=True)
    (containers / f".{'2' * 64}").mkdir()
    (containers / f".{'2' * 64}" / "config.json").write_text("{}")
    (sandboxes / ("3" * 64)).mkdir()
    await web.runtime.close()
    async with native(web.node):
        assert [path.name for path in containers.iterdir()] == [kept]
        assert [path.name for path in sandboxes.iterdir()] == [web.sandbox]


async def test_a_sandbox_that_was_half_made_when_its_agent_was_killed_holds_nothing(web: Pod) -> None:
    record = web.node.data / "sandboxes" / web.sandbox / "config.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"ready": False}))
    await web.runtime.close()
    async with native(web.node) as again:
        assert list((web.node.run / "sandboxes").iterdir()) == []
        assert [each.state for each in await again.list_pod_sandboxes()] == [SandboxState.NOT_READY]


async def test_the_first_process_of_a_shared_pid_namespace_ends_with_an_agent_that_did_not_note_it(web: Pod) -> None:
    noted, _ = await web.runtime.warden.call("hold")
    await web.runtime.warden.call("keep", pid=noted["pid"])
    unnoted, _ = await web.runtime.warden.call("hold")
    await web.runtime.close()
    async with asyncio.timeout(10):
        while processes.start_ticks(unnoted["pid"]):
            await asyncio.sleep(0.01)
    assert processes.start_ticks(noted["pid"])
    os.kill(noted["pid"], signal.SIGKILL)


async def test_after_a_reboot_everything_is_known_to_have_ended(web: Pod) -> None:
    """What a reboot takes: processes, namespaces and mounts. What it leaves: the disk."""
    identifier = await web.run("sleep", "1000")
    pid = (await web.runtime.container_status(identifier)).pid
    await web.runtime.close()
    web.node.kill_warden()
    os.kill(pid, signal.SIGKILL)
    mounts.unmount_beneath(str(web.node.run))
    state = web.node.data / "containers" / identifier / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"boot": "another", "pid": os.getpid()}))
    web.node.start_warden()
    async with native(web.node) as again:
        status = await again.container_status(identifier)
        assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 255, "Unknown")
        assert [each.state for each in await again.list_pod_sandboxes()] == [SandboxState.NOT_READY]
        with pytest.raises(RuntimeFault, match="is not running"):
            await again.exec_sync(identifier, ["true"], 5)
        await again.remove_pod_sandbox(web.sandbox)
        assert (await again.list_containers(), await again.list_pod_sandboxes()) == ([], [])
