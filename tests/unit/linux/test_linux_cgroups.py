"""Limits as the files that are written, and which cgroups a machine has."""

from pathlib import Path

import pytest

from kybern.linux import cgroup_detect, delegation
from kybern.linux.cgroups import Limits
from kybern.linux.cgroups_absent import Absent
from kybern.linux.cgroups_v1 import V1
from kybern.linux.cgroups_v2 import V2, values, weight
from kybern.linux.delegation import Delegated

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
anything = bool
PURE = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def test_a_hybrid_machine_has_its_controllers_in_v1(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(HYBRID)
    found = cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"), anything)
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
        found = cgroup_detect.detect(table=str(tmp_path / "table"), may_write=anything)
        assert isinstance(found, V1)
        assert found.hierarchies["memory"] == "/sys/fs/cgroup/memory"


def test_what_another_runtime_made_goes_from_the_hierarchies_that_are_not_used_too(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(HYBRID.replace("/sys/fs/cgroup", str(tmp_path)))
    groups = cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"), anything)
    trees = [tmp_path / name for name in ("cpu,cpuacct", "memory", "systemd", "unified")]
    for tree in trees:
        (tree / "kybern-a" / "pods" / "besteffort" / "podX").mkdir(parents=True)
        (tree / "kybern-b").mkdir()
    groups.remove("/kybern-a/pods")
    assert [list((tree / "kybern-a").iterdir()) for tree in trees] == [[]] * 4
    groups.remove_empty("/kybern-a")
    assert [[found.name for found in tree.iterdir()] for tree in trees] == [["kybern-b"]] * 4, "no group of others"


def test_a_machine_with_v2_alone_uses_it(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(PURE)
    assert isinstance(cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"), anything), V2)


def test_cgroups_that_may_not_be_written_are_left_alone(tmp_path: Path) -> None:
    for table in ("", HYBRID, PURE):
        (tmp_path / "table").write_text(table)
        found = cgroup_detect.detect(str(tmp_path), str(tmp_path / "table"), lambda path: False)
        assert isinstance(found, Absent)
        found.freeze("/kybern/pods/podX", False)
        with pytest.raises(OSError, match="without cgroups"):
            found.freeze("/kybern/pods/podX", True)


def test_of_what_was_given_to_a_user_only_the_controllers_there_are_written(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    (tmp_path / "pod").mkdir()
    Delegated(str(tmp_path)).limit("/pod", Limits(cpu_shares=1024, memory_limit_bytes=1 << 20, pids_limit=100))
    assert {file.name: file.read_text() for file in (tmp_path / "pod").iterdir()} == {
        "memory.max": "1048576",
        "pids.max": "100",
    }


def test_the_group_of_a_process_is_its_own_where_it_may_be_written(tmp_path: Path) -> None:
    table, about, own = tmp_path / "table", tmp_path / "cgroup", tmp_path / "user.slice" / "run-1.scope"
    table.write_text(f"31 23 0:28 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    about.write_text("1:name=systemd:/\n0::/user.slice/run-1.scope\n")
    assert delegation.own_group(str(table), str(about)) == ""
    own.mkdir(parents=True)
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (own / name).write_text("")
    assert delegation.own_group(str(table), str(about)) == str(own)


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


def test_huge_pages_are_limited_under_the_kernels_names_where_it_counts_them(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    limits = Limits(hugepage_limits={"2Mi": 4 << 20, "1Gi": 0})
    for groups, end in ((V2(str(tmp_path)), "max"), (V1({"hugetlb": str(tmp_path)}), "limit_in_bytes")):
        groups.limit("/pod", limits)
        assert list((tmp_path / "pod").iterdir()) == [], "this kernel counts none"
        for name in ("2MB", "2MB.rsvd", "1GB"):
            (tmp_path / "pod" / f"hugetlb.{name}.{end}").touch()
        groups.limit("/pod", limits)
        assert {file.name: file.read_text() for file in (tmp_path / "pod").iterdir()} == {
            f"hugetlb.2MB.{end}": str(4 << 20),
            f"hugetlb.2MB.rsvd.{end}": str(4 << 20),
            f"hugetlb.1GB.{end}": "0",
        }
        for file in (tmp_path / "pod").iterdir():
            file.unlink()
