"""Limits as the files that are written, and which cgroups a machine has."""

from pathlib import Path

import pytest

from kybern.linux import cgroup_detect
from kybern.linux.cgroups import Limits
from kybern.linux.cgroups_v1 import V1
from kybern.linux.cgroups_v2 import V2, values, weight

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
PURE = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def test_a_hybrid_machine_has_its_controllers_in_v1(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(HYBRID)
    found = cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"))
    assert isinstance(found, V1)
    assert found.hierarchies == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }


def test_a_hierarchy_that_is_mounted_again_elsewhere_is_used_where_it_belongs(tmp_path: Path) -> None:
    elsewhere = HYBRID.replace(" /sys/", " /var/cache/other-root/sys/")
    for table in (HYBRID + elsewhere, elsewhere + HYBRID):
        (tmp_path / "table").write_text(table)
        found = cgroup_detect.detect(table=str(tmp_path / "table"))
        assert isinstance(found, V1)
        assert found.hierarchies["memory"] == "/sys/fs/cgroup/memory"


def test_a_machine_with_v2_alone_uses_it(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(PURE)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    assert isinstance(cgroup_detect.detect(str(tmp_path), str(tmp_path / "table")), V2)


def test_a_machine_without_cgroups_says_so(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("")
    with pytest.raises(FileNotFoundError):
        cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"))


def test_limits_in_v2_are_only_what_was_asked_for() -> None:
    assert values(Limits()) == {}
    asked = Limits(cpu_quota=50_000, cpu_period=100_000, memory_limit_bytes=1 << 20, pids_limit=-1, cpu_shares=1024)
    assert values(asked) == {
        "memory.max": "1048576",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "pids.max": "max",
    }


@pytest.mark.parametrize(("shares", "expected"), [(0, 1), (2, 1), (1024, 39), (262_144, 10_000), (10**9, 10_000)])
def test_shares_become_weights(shares: int, expected: int) -> None:
    assert weight(shares) == expected


def test_a_v2_tree_hands_controllers_down_to_the_last_level(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory rdma")
    (tmp_path / "cgroup.subtree_control").touch()
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods" / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "pods" / "cgroup.subtree_control").touch()
    V2(str(tmp_path)).create("/pods/a")
    assert (tmp_path / "cgroup.subtree_control").read_text() in ("+memory", "+cpu")
    assert (tmp_path / "pods" / "a").is_dir()
