"""`--runtime`: who is named, and what is said where that cannot be."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from kybern.cmd import config
from kybern.cmd.arguments import runtime_target
from kybern.cmd.nodes import Refused, with_another
from kybern.cmd.preflight import Prevents
from kybern.cmd.runtime_check import problems_of


def test_a_runtime_is_named_by_its_socket() -> None:
    assert runtime_target("containerd:///run/containerd/containerd.sock") == "unix:///run/containerd/containerd.sock"
    assert (runtime_target("unix:///x"), runtime_target("native")) == ("unix:///x", "")
    for wrong in ("docker", "tcp://1.2.3.4:5", "unix://relative", "containerd"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no runtime"):
            runtime_target(wrong)


async def test_a_socket_that_nobody_listens_on_is_told_before_anything_starts(tmp_path: Path) -> None:
    cluster = replace(config.choose(tmp_path, ()), runtime=f"unix://{tmp_path}/none.sock")
    (problem,) = await problems_of(cluster)
    assert problem.what == f"no container runtime listens on {tmp_path}/none.sock"
    assert "containerd" in problem.fix and problem.prevents is Prevents.CLUSTER


def test_one_runtime_serves_one_node(tmp_path: Path) -> None:
    cluster = replace(config.choose(tmp_path, ()), runtime="unix:///x")
    with pytest.raises(Refused, match="one node only"):
        with_another(cluster, None)
