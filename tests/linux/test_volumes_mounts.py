"""Volumes with real mounts: memory is memory, a sub-path stays in its volume, nothing is left mounted."""

import os
from collections import Counter
from pathlib import Path

import pytest
from exchange import RACES, exchanging

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Container, EmptyDirVolumeSource, Pod, PodSpec, Volume
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.linux import beneath, mounts
from kybern.linux.real import RealMounts
from kybern.volumes.downward import Facts
from kybern.volumes.mounts import mounted_beneath
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes

pytestmark = pytest.mark.linux


def volumes(root: Path) -> PodVolumes:
    clock = SystemClock()
    return PodVolumes(str(root / "pods"), Objects(Client(None), clock), RealMounts(), clock, Ids(1))  # type: ignore[arg-type]


def pod(medium: str | None = None, limit: str | None = None) -> Pod:
    source = EmptyDirVolumeSource(medium=medium, size_limit=Quantity(limit) if limit else None)
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u"),
        spec=PodSpec(containers=(Container(name="web"),), volumes=(Volume(name="v", empty_dir=source),)),
    )


async def test_an_empty_dir_in_memory_is_limited_and_goes_away(tmp_path: Path) -> None:
    made, found = pod("Memory", "1Mi"), volumes(tmp_path)
    await found.set_up(made, Facts())
    await found.set_up(made, Facts())  # once more mounts nothing more
    directory = found.host_path(made, "v")
    try:
        assert mounted_beneath(str(tmp_path)) == [directory]
        assert os.statvfs(directory).f_blocks * os.statvfs(directory).f_frsize == 2**20
        assert os.stat(directory).st_mode & 0o7777 == 0o1777, "as upstream leaves a tmpfs"
        (mounted,) = [line for line in Path("/proc/self/mounts").read_text().splitlines() if directory in line]
        assert "noswap" in mounted.split()[3].split(",") or not mounts.may_stay_in_memory()
    finally:
        await found.tear_down("u")
    assert mounted_beneath(str(tmp_path)) == [] and found.known_pods() == []


async def test_a_sub_path_is_made_and_shown(tmp_path: Path) -> None:
    made, found = pod(), volumes(tmp_path)
    await found.set_up(made, Facts())
    try:
        target = found.sub_path(made, "v", "web", 0, "a/b")
        (Path(found.host_path(made, "v")) / "a" / "b" / "file").write_text("x")
        assert (Path(target) / "file").read_text() == "x"
        assert found.sub_path(made, "v", "web", 0, "a/b") == target  # a restarted container gets it anew
        assert len(mounted_beneath(target)) == 1
    finally:
        await found.tear_down("u")
    assert mounted_beneath(str(tmp_path)) == []


@pytest.mark.parametrize("link", ["/etc", "../../../../../../etc", "out"])
async def test_a_link_does_not_lead_a_sub_path_out_of_its_volume(tmp_path: Path, link: str) -> None:
    made, found = pod(), volumes(tmp_path)
    await found.set_up(made, Facts())
    directory = Path(found.host_path(made, "v"))
    (directory / "out").symlink_to("/")
    (directory / "evil").symlink_to(link)
    try:
        with pytest.raises(OSError):
            found.sub_path(made, "v", "web", 0, "evil/passwd")
        assert mounted_beneath(str(tmp_path)) == []
    finally:
        await found.tear_down("u")


@pytest.mark.parametrize("path", ["evil", "evil/canary", "../../../../../outside"])
async def test_a_sub_path_leaves_its_volume_only_without_the_defence(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E12, CVE-2017-1002101: a link of the volume, or a name that goes upwards."""
    made, found = pod(), volumes(tmp_path)
    await found.set_up(made, Facts())
    directory, canary = Path(found.host_path(made, "v")), tmp_path / "outside"
    (canary / "canary").mkdir(parents=True)
    (directory / "evil").symlink_to(canary)
    up = os.path.relpath(canary, directory) if path.startswith("..") else path
    try:
        with pytest.raises(OSError):
            found.sub_path(made, "v", "web", 0, up)
        monkeypatch.setattr(beneath, "BENEATH", 0)
        shown = found.sub_path(made, "v", "web", 1, up)
        assert os.listdir(shown) == ([] if path.endswith("canary") else ["canary"])
    finally:
        await found.tear_down("u")
    assert mounted_beneath(str(tmp_path)) == []


async def test_a_link_that_takes_the_place_of_a_sub_path_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """CVE-2021-25741: whatever the moment, what is shown lies in the volume."""
    made, found = pod(), volumes(tmp_path)
    await found.set_up(made, Facts())
    directory, canary = Path(found.host_path(made, "v")), tmp_path / "outside"
    for place in (directory / "sub", directory / "sub/inside", canary, canary / "canary"):
        place.mkdir()
    (directory / "link").symlink_to(canary)
    shown: Counter[str] = Counter()
    try:
        with exchanging(directory / "sub", directory / "link"):
            for _ in range(RACES):
                try:
                    shown.update(os.listdir(found.sub_path(made, "v", "web", 0, "sub")))
                except OSError:
                    shown["refused"] += 1
        assert shown.keys() <= {"inside", "refused"} and shown["inside"], shown
    finally:
        await found.tear_down("u")
    assert mounted_beneath(str(tmp_path)) == []


async def test_tear_down_deletes_nothing_through_a_mount(tmp_path: Path) -> None:
    made, found = pod(), volumes(tmp_path)
    await found.set_up(made, Facts())
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    mounts.bind(str(precious), found.host_path(made, "v"))
    await found.tear_down("u")
    assert (precious / "file").read_text() == "x" and mounted_beneath(str(tmp_path)) == []
