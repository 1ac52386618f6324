"""Mounts, paths beneath a directory, cgroups and device filters against this kernel."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kybern.linux import beneath, cgroup_detect, cgroups, device_filter, mounts, processes
from kybern.linux.cgroups import Cgroups, DeviceRule, Limits
from kybern.linux.cgroups_v2 import V2

pytestmark = pytest.mark.linux

UNIFIED = Path("/sys/fs/cgroup/unified")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    mounts.unmount_beneath(str(tmp_path))


def test_a_bind_mount_can_be_read_only(place: Path) -> None:
    for name in ("source", "target"):
        (place / name).mkdir()
    mounts.bind(str(place / "source"), str(place / "target"), readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        (place / "target" / "x").touch()
    (place / "source" / "y").touch()
    assert (place / "target" / "y").exists()
    mounts.unmount(str(place / "target"))
    mounts.unmount(str(place / "target"))
    assert not (place / "target" / "y").exists()


def test_a_tmpfs_has_its_size_and_mode(place: Path) -> None:
    mounts.tmpfs(str(place), 1 << 20, 0o1777)
    assert os.stat(place).st_mode & 0o7777 == 0o1777
    with pytest.raises(OSError, match="No space"):
        (place / "big").write_bytes(bytes(2 << 20))


def test_what_is_bound_beneath_a_directory_cannot_lie_outside(place: Path) -> None:
    (place / "volume").mkdir()
    (place / "secret").write_text("secret")
    (place / "volume" / "link").symlink_to("../secret")
    (place / "volume" / "absolute").symlink_to(place / "secret")
    for path in ("link", "absolute", "../secret", "/etc/passwd"):
        with pytest.raises(OSError):
            mounts.bind_beneath(str(place / "volume"), path, str(place / "target"))
    (place / "volume" / "file").write_text("content")
    mounts.bind_beneath(str(place / "volume"), "file", str(place / "target"))
    assert (place / "target").read_text() == "content"


def test_directories_are_made_inside_whatever_links_say(place: Path) -> None:
    (place / "root").mkdir()
    (place / "root" / "out").symlink_to("/outside")
    (place / "root" / "up").symlink_to("../../../..")
    root = os.open(place / "root", os.O_PATH | os.O_DIRECTORY)
    for path in ("out/a", "up/b", "/c/d"):
        os.close(beneath.make_directories(root, path))
    os.close(root)
    made = {str(found.relative_to(place)) for found in place.rglob("*") if found.is_dir() and not found.is_symlink()}
    assert made == {"root", "root/outside", "root/outside/a", "root/b", "root/c", "root/c/d"}
    assert not os.path.exists("/outside")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[tuple[Cgroups, str]]:
    groups, path = cgroup_detect.detect(), f"/kybern-test/{tmp_path.name}"
    groups.create(path)
    yield groups, path
    groups.kill(path)
    groups.remove(path)


def child_in(groups: Cgroups, path: str) -> int:
    """A process that has entered the group."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        cgroups.enter(groups.entrance(path))
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    os.close(tell)
    assert os.read(told, 1) == b"x"
    os.close(told)
    return child


def test_a_group_limits_counts_and_kills(group: tuple[Cgroups, str]) -> None:
    groups, path = group
    groups.limit(
        path, Limits(memory_limit_bytes=32 << 20, pids_limit=10, cpu_shares=100, cpu_quota=50_000, cpu_period=100_000)
    )
    child = child_in(groups, path)
    assert groups.pids(path) == [child]
    assert groups.oom_kills(path) == 0
    groups.kill(path)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    groups.remove(path)
    groups.remove(path)
    groups.create(path)


def test_a_group_that_goes_while_it_is_read_is_gone(tmp_path: Path) -> None:
    groups, path = cgroup_detect.detect(), f"/kybern-test/{tmp_path.name}"
    groups.create(path)
    _, directory = groups.views(path)[0]
    with open(f"{directory}/cgroup.procs") as opened:
        groups.remove(path)
        with pytest.raises(FileNotFoundError):
            cgroups.read(f"/proc/self/fd/{opened.fileno()}")
        with pytest.raises(FileNotFoundError):
            cgroups.write(f"/proc/self/fd/{opened.fileno()}", "0")


@pytest.mark.skipif(not (UNIFIED / "cgroup.procs").exists(), reason="no v2 tree beside v1 to try it in")
def test_a_v2_group_freezes_and_kills(tmp_path: Path) -> None:
    groups, path = V2(str(UNIFIED)), f"/kybern-test-{tmp_path.name}/inner"
    groups.create(path)
    child = child_in(groups, path)
    assert groups.pids(path) == [child]
    groups.freeze(path, True)
    groups.freeze(path, False)
    groups.kill(path)
    os.waitpid(child, 0)
    groups.remove(path)
    groups.remove_empty(os.path.dirname(path))


@pytest.mark.skipif(not (UNIFIED / "cgroup.procs").exists(), reason="no v2 tree beside v1 to try it in")
def test_a_device_filter_allows_only_its_rules(tmp_path: Path) -> None:
    directory = UNIFIED / f"kybern-test-{tmp_path.name}"
    directory.mkdir()
    try:
        device_filter.attach(str(directory), [DeviceRule("c", 1, 3, "rwm"), DeviceRule("c", 1, 5, "r")])
        child = os.fork()
        if child == 0:
            os._exit(attempts(directory))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        directory.rmdir()


def attempts(directory: Path) -> int:
    """0 when exactly what is allowed can be done."""
    (directory / "cgroup.procs").write_text("0")
    expected = {("/dev/null", os.O_RDWR): True, ("/dev/zero", os.O_RDONLY): True, ("/dev/zero", os.O_RDWR): False,
                ("/dev/urandom", os.O_RDONLY): False}  # fmt: skip
    for (path, flags), allowed in expected.items():
        try:
            os.open(path, flags)
            done = True
        except PermissionError:
            done = False
        if done != allowed:
            return 1
    return 0


def test_a_first_process_of_a_pid_namespace_is_forked_from_outside() -> None:
    read, write = os.pipe()
    child = processes.fork_into(None, new=True)
    if child == 0:
        os.write(write, str(os.getpid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"1"
    os.close(read)
    os.close(write)
    after = os.fork()  # and the test's own children are where they were
    if after == 0:
        os._exit(0 if os.getpid() != 1 else 1)
    assert os.waitpid(after, 0)[1] == 0


def test_a_sealed_copy_cannot_be_changed() -> None:
    copy = processes.sealed_copy("/bin/true")
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    with pytest.raises(PermissionError):
        os.truncate(copy, 0)
    os.close(copy)
