"""What a machine lacks is named, each with the one command that mends it."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from kybern.cmd.preflight import CONTROLLERS, NAMESPACES, Machine, Prevents, look, needs_root, port_error, problems
from kybern.cmd.preflight_rootless import Unprivileged

GOOD = Machine(
    system="Linux",
    python=(3, 11),
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

ALICE = Unprivileged(user="alice", maps_ids=False)


def test_a_good_machine_has_no_problems() -> None:
    assert list(problems(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"programs": frozenset()}, "the program `nft` is missing", "apt-get install -y nftables"),
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
    assert [p.prevents for p in problems(replace(GOOD, system="Darwin"))] == [Prevents.CONTAINERS]
    assert [p.prevents for p in problems(replace(GOOD, port_error="another program uses it"))] == [Prevents.CLUSTER]


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"programs": frozenset()}, "newgidmap and newuidmap missing", "sudo apt-get install -y uidmap"),
        ({"ids": 0}, "/etc/subuid and /etc/subgid give alice no ids", "sudo usermod --add-subuids 100000-165535"),
        ({"ids": 1000}, "give alice 1000 ids of its own, 65536 are needed", "usermod"),
        (
            {"forbidding": frozenset({"user.max_user_namespaces"}), "refused": "user namespace: no space"},
            "user.max_user_namespaces is 0",
            "sudo sysctl -w user.max_user_namespaces=28633",
        ),
        (
            {"forbidding": frozenset({"kernel.apparmor_restrict_unprivileged_userns"}), "refused": "proc: no"},
            "kernel.apparmor_restrict_unprivileged_userns is 1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"refused": "newuidmap: write failed"}, "newuidmap: write failed", "chmod u+s /usr/bin/newuidmap"),
        ({"refused": "proc: Operation not permitted"}, "own: proc", "--security-opt systempaths=unconfined"),
        ({"refused": "layers: cannot be mounted"}, "own: layers", "kybern up --data-dir DIRECTORY"),
        ({"refused": "overlay: cannot be mounted"}, "own: overlay", "kernel of 5.11"),
        (
            {"refused": "user namespace: Operation not permitted", "filtered": True},
            "own: user namespace: Operation not permitted",
            "--security-opt seccomp=unconfined",
        ),
        ({"refused": "user namespace: Operation not permitted"}, "own: user namespace", "sudo kybern up"),
    ],
)
def test_what_an_ordinary_user_lacks_for_containers_is_named_with_its_fix(
    change: dict[str, object], what: str, fix: str
) -> None:
    (problem,) = problems(replace(GOOD, unprivileged=replace(ALICE, **change)))  # type: ignore[arg-type]
    assert what in problem.what and fix in problem.fix and problem.prevents is Prevents.CONTAINERS


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"uplink": ""}, "no `pasta` or `slirp4netns`", "sudo apt-get install -y passt"),
        ({"tun": False}, "/dev/net/tun cannot be opened", "sudo modprobe tun"),
        ({"unlimited": "no cgroup (v2)"}, "limits are not enforced: no cgroup (v2)", "systemd-run --user --scope"),
    ],
)
def test_what_an_ordinary_users_cluster_does_without_is_named_and_stops_nothing(
    change: dict[str, object], what: str, fix: str
) -> None:
    (problem,) = problems(replace(GOOD, unprivileged=replace(ALICE, **change)))  # type: ignore[arg-type]
    assert what in problem.what and fix in problem.fix and problem.prevents is Prevents.NOTHING


def test_an_ordinary_user_with_everything_has_no_problems_and_cgroups_of_v1_are_not_asked_for() -> None:
    assert list(problems(replace(GOOD, unprivileged=ALICE, controllers=frozenset()))) == []
    in_a_container = replace(ALICE, maps_ids=True, programs=frozenset(), ids=65_535)
    assert list(problems(replace(GOOD, unprivileged=in_a_container))) == []


def test_what_has_no_place_in_a_users_namespaces_needs_root() -> None:
    (problem,) = needs_root(replace(GOOD, unprivileged=ALICE), "join")
    assert problem.fix.startswith("sudo kybern join")
    assert list(needs_root(GOOD, "join")) == []


def test_a_port_in_use_is_noticed() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert port_error("127.0.0.1", other.getsockname()[1]) == "another program uses it"


def test_looking_at_this_machine_makes_the_data_directory_private(tmp_path: Path) -> None:
    machine = look(tmp_path / "data", "127.0.0.1", 0)
    assert machine.free_bytes > 0
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
