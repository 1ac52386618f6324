"""What a machine lacks is named, each with the one command that mends it."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from kybern.cmd.preflight import CONTROLLERS, NAMESPACES, Machine, look, port_error, problems

GOOD = Machine(
    system="Linux",
    python=(3, 11),
    root=True,
    programs=frozenset({"nft"}),
    namespaces=frozenset(NAMESPACES),
    filesystems=frozenset({"overlay", "tmpfs"}),
    controllers=frozenset(CONTROLLERS),
    seccomp=True,
    free_bytes=10 << 30,
    data_dir="/var/lib/kybern",
    port=6443,
    bind_address="127.0.0.1",
    debian=True,
)


def test_a_good_machine_has_no_problems() -> None:
    assert list(problems(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"programs": frozenset()}, "the program `nft` is missing", "apt-get install -y nftables"),
        ({"root": False}, "containers need root here", "sudo kybern up"),
        ({"filesystems": frozenset({"tmpfs"})}, "the kernel has no overlay file system", "modprobe overlay"),
        ({"free_bytes": 1 << 20}, "1 MiB free", "--data-dir"),
        ({"port_error": "another program uses it"}, "127.0.0.1:6443 cannot be listened on", "kybern up --port 7443"),
        ({"python": (3, 9)}, "Python 3.9 is too old", "apt-get install"),
        ({"controllers": frozenset({"cpu", "memory"})}, "controller `pids`", "mount -t cgroup2"),
        ({"namespaces": frozenset(NAMESPACES) - {"net"}}, "no net namespaces", "CONFIG_NAMESPACES"),
        ({"system": "Darwin"}, "containers need Linux, this is Darwin", "Linux"),
        ({"data_dir_error": "permission denied"}, "/var/lib/kybern cannot be written: permission denied", "chown"),
    ],
)
def test_every_lack_is_named_with_its_fix(change: dict[str, object], what: str, fix: str) -> None:
    (problem,) = problems(replace(GOOD, **change))  # type: ignore[arg-type]
    assert what in problem.what
    assert fix in problem.fix


def test_what_only_containers_need_does_not_stop_the_control_plane() -> None:
    assert all(p.containers_only for p in problems(replace(GOOD, system="Darwin")))
    assert not any(p.containers_only for p in problems(replace(GOOD, port_error="another program uses it")))


def test_a_port_in_use_is_noticed() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert port_error("127.0.0.1", other.getsockname()[1]) == "another program uses it"


def test_looking_at_this_machine_makes_the_data_directory_private(tmp_path: Path) -> None:
    machine = look(tmp_path / "data", "127.0.0.1", 0)
    assert machine.free_bytes > 0
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
