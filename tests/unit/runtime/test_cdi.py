"""What the name of a CDI device means for a container."""

import json
from pathlib import Path
from typing import Any

import pytest

from kybern.runtime.cdi import with_devices
from kybern.runtime.cri import ContainerConfig, ContainerMetadata, Device, Mount, RuntimeFault


def config(*devices: str) -> ContainerConfig:
    return ContainerConfig(metadata=ContainerMetadata(name="c"), image="i", envs=(("A", "1"),), cdi_devices=devices)


def spec(directory: Path, edits: dict[str, Any], name: str = "vendor.json") -> str:
    directory.mkdir(exist_ok=True)
    shared = {"env": ["SHARED=1"]}
    found = {"kind": "vendor.com/gpu", "containerEdits": shared, "devices": [{"name": "0", "containerEdits": edits}]}
    (directory / name).write_text(json.dumps(found))
    return str(directory)


def test_a_device_brings_variables_nodes_and_mounts_and_its_kind_what_all_share(tmp_path: Path) -> None:
    edits = {
        "env": ["GPU=0"],
        "deviceNodes": [{"path": "/dev/gpu0"}, {"path": "/dev/ctl", "hostPath": "/dev/null", "permissions": "r"}],
        "mounts": [{"hostPath": "/usr/lib/v", "containerPath": "/lib/v", "options": ["ro", "bind"]}],
    }
    found = with_devices(config("vendor.com/gpu=0"), [spec(tmp_path / "a", edits)])
    assert found.envs == (("A", "1"), ("SHARED", "1"), ("GPU", "0"))
    assert found.devices == (
        Device(container_path="/dev/gpu0", host_path="/dev/gpu0"),
        Device(container_path="/dev/ctl", host_path="/dev/null", permissions="r"),
    )
    assert found.mounts == (Mount(container_path="/lib/v", host_path="/usr/lib/v", readonly=True),)


def test_a_later_directory_counts_more(tmp_path: Path) -> None:
    places = [spec(tmp_path / "etc", {"env": ["FROM=etc"]}), spec(tmp_path / "run", {"env": ["FROM=run"]})]
    assert ("FROM", "run") in with_devices(config("vendor.com/gpu=0"), places).envs


@pytest.mark.parametrize(
    ("edits", "name", "said"),
    [
        ({}, "vendor.com/gpu=1", "unresolvable CDI devices vendor.com/gpu=1"),
        ({}, "other.com/gpu=0", "unresolvable"),
        ({"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}, "vendor.com/gpu=0", "hooks are not run"),
    ],
)
def test_what_is_not_there_or_would_run_outside_fails_the_container(
    tmp_path: Path, edits: dict[str, Any], name: str, said: str
) -> None:
    with pytest.raises(RuntimeFault, match=said):
        with_devices(config(name), [spec(tmp_path / "a", edits)])


def test_a_broken_file_is_an_error_only_for_who_asks_for_devices(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert with_devices(config(), [str(tmp_path)]) == config()
    with pytest.raises(RuntimeFault, match=r"broken\.json"):
        with_devices(config("vendor.com/gpu=0"), [str(tmp_path)])
