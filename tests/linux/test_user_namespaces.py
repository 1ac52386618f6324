"""Pods with users of their own: root inside is nobody outside, and finds its files all the same."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chroots import needs_user_namespaces
from runtime_fixtures import Pod, pod

from kybern.runtime.cri import IdMapping, Mount, NamespaceOptions, RuntimeFault, SecurityContext
from kybern.runtime.execution import read_all

pytestmark = [pytest.mark.linux, needs_user_namespaces]

HOST_ID = 7 * 65_536


@pytest.fixture
async def mapped(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path, namespaces=NamespaceOptions(user_namespace=IdMapping(HOST_ID, 65_536))) as made:
        yield made


async def test_root_inside_is_an_ordinary_user_outside(mapped: Pod) -> None:
    identifier = await mapped.run("sleep", "1000")
    status = await mapped.runtime.container_status(identifier)
    about = Path(f"/proc/{status.pid}/status").read_text().splitlines()
    assert next(line for line in about if line.startswith("Uid:")).split()[1:] == [str(HOST_ID)] * 4
    assert status.user == (0, 0, (0,))
    kinds = ("user", "net", "ipc", "uts")
    assert not {os.readlink(f"/proc/{status.pid}/ns/{k}") for k in kinds} & {
        os.readlink(f"/proc/self/ns/{k}") for k in kinds
    }
    assert Path(f"/proc/{status.pid}/uid_map").read_text().split() == ["0", str(HOST_ID), "65536"]


async def test_the_image_and_what_is_written_belong_to_root_inside(mapped: Pod) -> None:
    script = "stat -c %u:%g /bin/busybox / /dev /dev/null; touch /new && stat -c %u /new; rm /bin/true && echo removed"
    assert await mapped.shell(script) == ["0:0", "0:0", "0:0", "0:0", "0", "removed"]
    assert await mapped.shell("id -u; cat /proc/self/setgroups", security=SecurityContext(run_as_user=1000)) == [
        "1000",
        "allow",
    ]


async def test_volumes_show_their_owners_and_keep_them_on_the_disk(mapped: Pod, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "theirs").write_text("secret")
    (volume / "theirs").chmod(0o600)
    mount = Mount(container_path="/data", host_path=str(volume))
    assert await mapped.shell("stat -c %u /data/theirs; cat /data/theirs; touch /data/new", mounts=(mount,)) == [
        "0",
        "secret",
    ]
    assert (volume / "new").stat().st_uid == 0


async def test_the_root_of_a_user_namespace_cannot_touch_the_machine(mapped: Pod) -> None:
    everything = SecurityContext(add_capabilities=("ALL",))
    attempts = (
        "mknod /sda b 8 0",
        "mount -t tmpfs none /mnt",
        "echo 1 > /proc/sys/kernel/core_pattern",
        "mount -o remount,rw /proc/sys",
        "kill -9 1000000",
    )
    for attempt in attempts:
        assert await mapped.shell(f"({attempt}) 2>/dev/null && echo done || echo refused", security=everything) == [
            "refused"
        ]


async def test_exec_enters_the_user_namespace_too(mapped: Pod) -> None:
    identifier = await mapped.run("sleep", "1000")
    found = await mapped.runtime.exec_sync(identifier, ["sh", "-c", "id -u; readlink /proc/self/ns/user; touch /x"], 10)
    inside = os.readlink(f"/proc/{(await mapped.runtime.container_status(identifier)).pid}/ns/user")
    assert found.stdout.decode().split() == ["0", inside] and found.exit_code == 0
    terminal = await mapped.runtime.exec(identifier, ["sh", "-c", "tty && stat -c %u $(tty)"], stdin=False, tty=True)
    assert (await read_all(terminal.read_stdout)).decode().split() == ["/dev/pts/0", "0"]
    await terminal.close()


async def test_ids_beyond_the_mapping_are_refused(mapped: Pod) -> None:
    with pytest.raises(RuntimeFault, match="invalid argument"):
        await mapped.run("true", security=SecurityContext(run_as_user=70_000))
