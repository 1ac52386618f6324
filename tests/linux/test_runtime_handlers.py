"""Containers run by OCI runtimes of Debian, named by RuntimeClass handlers, as the native ones: one suite for each."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chroots import in_a_chroot
from runtime_fixtures import Pod, image_of_two_layers, image_volumes_say, pod

from kybern.runtime.cri import ContainerState, LinuxResources, Mount, RuntimeFault, SecurityContext

pytestmark = pytest.mark.linux

SHARES_THE_KERNEL = ("runc", "crun")


@pytest.fixture(params=["runc", "crun", "runsc"])
async def web(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pod]:
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param}; install it with: apt-get install -y {request.param}")
    async with pod(tmp_path, runtime_handler=request.param) as made:
        yield made


def handler(web: Pod) -> str:
    return web.runtime.sandboxes.get(web.sandbox).config.runtime_handler


async def test_a_container_runs_writes_and_ends_with_its_code(web: Pod) -> None:
    status, lines = await web.finish("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (status.exit_code, status.reason, sorted(lines)) == (7, "Error", ["err", "out"])


async def test_it_is_another_kernel_or_this_one(web: Pod) -> None:
    release = (await web.shell("uname -r"))[0]
    assert (release == os.uname().release) is (handler(web) in SHARES_THE_KERNEL)


async def test_it_is_confined_as_asked(web: Pod, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shown\n")
    mount = Mount(container_path="/mnt/file", host_path=str(tmp_path / "file"), readonly=True)
    security = SecurityContext(run_as_username="web:extra", readonly_rootfs=True, no_new_privs=True)
    script = "id -u; id -g; cat /mnt/file; echo x > /mnt/file || echo no; touch /x || echo no; echo $HOME"
    lines = await web.shell(script, security=security, mounts=(mount,), envs=(("A", "1"),))
    said = [line for line in lines if "can't" not in line and "Read-only" not in line]
    assert said == ["1000", "2000", "shown", "no", "no", "/home/web"]


async def test_it_is_stopped_by_its_signal_and_killed_when_it_does_not_listen(web: Pod) -> None:
    polite = await web.run("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done")
    await said(web, polite, "up")
    await web.runtime.stop_container(polite, 20)
    assert (await web.runtime.container_status(polite)).exit_code == 3
    deaf = await web.run("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    await said(web, deaf, "up")
    await web.runtime.stop_container(deaf, 0.5)
    assert (await web.runtime.container_status(deaf)).exit_code == 137
    assert web.runtime.cgroups.pids(web.runtime.records.get(deaf).spec["linux"]["cgroupsPath"]) == []


async def test_who_is_to_be_spared_when_memory_runs_out_runs_also_where_nobody_may_be(web: Pod) -> None:
    """Only CAP_SYS_RESOURCE may lower a process' score below where it began: without it, it is not lowered."""
    lines = await web.shell("cat /proc/self/oom_score_adj; echo ran", resources=LinuxResources(oom_score_adj=-997))
    assert lines[-1] == "ran"


async def said(web: Pod, container: str, line: str) -> None:
    async with asyncio.timeout(20):
        while line not in web.lines(container):
            await asyncio.sleep(0.02)


@pytest.mark.skipif(
    in_a_chroot(), reason="whoever enters a mount namespace from a chroot is at the machine's root in it"
)
async def test_more_processes_run_in_it(web: Pod) -> None:
    container = await web.run("sh", "-c", "echo here > /tmp/file; echo up; sleep 60")
    await said(web, container, "up")
    result = await web.runtime.exec_sync(container, ("sh", "-c", "cat /tmp/file; exit 4"), 20)
    assert (result.stdout, result.exit_code) == (b"here\n", 4)
    script = "test -t 0 && test -t 1 && read word && stty size && echo typed $word"  # gVisor's terminal has no name
    io = await web.runtime.exec(container, ("sh", "-c", script), stdin=True, tty=True)
    await io.resize(91, 31)
    await io.write_stdin(b"word\n")
    shown = b""
    while piece := await io.read_stdout():
        shown += piece
    assert b"31 91" in shown and b"typed word" in shown and await io.wait() == 0, shown
    await io.close()


async def test_an_image_is_a_volume_of_all_its_layers_and_of_one_directory(web: Pod, tmp_path: Path) -> None:
    image = await image_of_two_layers(web, tmp_path)
    assert await image_volumes_say(web, image) == ["above11read-only"]


async def test_a_process_in_it_that_is_let_go_is_killed(web: Pod) -> None:
    if handler(web) == "runsc":
        pytest.skip("gVisor's processes cannot be reached from outside")
    container = await web.run("sleep", "1000")
    io = await web.runtime.exec(container, ["sleep", "88"], stdin=False, tty=False)
    await io.close()
    async with asyncio.timeout(20):
        while b"sleep 88" in (await web.runtime.exec_sync(container, ["ps", "-o", "args"], 10)).stdout:
            await asyncio.sleep(0.05)


async def test_its_memory_is_limited(web: Pod) -> None:
    limited = LinuxResources(memory_limit_bytes=64 << 20)
    status, _ = await web.finish("sh", "-c", "tail /dev/zero", resources=limited)
    assert status.exit_code != 0


async def test_a_program_that_is_not_there_is_told(web: Pod) -> None:
    status, _ = await web.finish("/no/such/program")
    assert status.exit_code != 0 and "no such file" in status.message.lower(), status


async def test_nothing_stays_of_it(web: Pod) -> None:
    container = await web.run("sleep", "60")
    await web.runtime.stop_container(container, 0)
    await web.runtime.remove_container(container)
    assert not list((web.runtime.run_dir / "oci" / handler(web)).iterdir())


async def test_a_handler_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match='no runtime for "kata" is configured'):
        async with pod(tmp_path, runtime_handler="kata"):
            pass


async def test_it_survives_the_warden(web: Pod) -> None:
    container = await web.run("sh", "-c", "while :; do echo tick; sleep 0.2; done")
    await said(web, container, "tick")
    web.node.kill_warden()
    web.node.start_warden()
    before = len(web.lines(container))
    async with asyncio.timeout(20):
        while len(web.lines(container)) <= before:
            await asyncio.sleep(0.05)
    assert (await web.runtime.container_status(container)).state == ContainerState.RUNNING
    await web.runtime.stop_container(container, 0)
