"""Malicious layers: nothing outside the target is read or changed, and a refusal is clean.

The first tables are containerd's breakout tests by name: links and names that lead out of the root must end inside it
or be refused; a canary beside the root must stay as it is.
"""

import gzip
import os
import random
import stat
import tarfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from oci_images import archive, digest_of, entry, hard_link, link

from kybern.runtime.images.bounded_tar import Refused
from kybern.runtime.images.manifest import BadImage
from kybern.runtime.images.snapshots import Snapshots
from kybern.runtime.images.unpack import unpack

pytestmark = pytest.mark.linux

Entry = tuple[tarfile.TarInfo, bytes]
ARCHIVES = int(os.environ.get("FUZZ_ARCHIVES", "300"))


@dataclass
class Target:
    base: Path

    @property
    def root(self) -> Path:
        return self.base / "root"

    def unpack(self, data: bytes, compression: str = "", parents: tuple[str, ...] = ()) -> None:
        blob = self.base / "blob"
        blob.write_bytes(data)
        with blob.open("rb") as opened:
            unpack(opened, compression, str(self.root), list(parents))

    def untouched(self) -> bool:
        outside = sorted(path.name for path in self.base.iterdir())
        return (self.base / "passwd").read_text() == "canary" and set(outside) <= {"root", "passwd", "blob", "etc"}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = Target(tmp_path)
    made.root.mkdir()
    (tmp_path / "passwd").write_text("canary")
    before = os.umask(0)
    yield made
    os.umask(before)


def chain_past_path_max(steps: str = "abcdefghijklmnop") -> list[Entry]:
    """T35: a link that leads up and out, behind so many others that its whole path is longer than a path may be."""
    deep, path, entries = "d" * 247, "", []
    for step in steps:
        entries += [entry(path + deep), link(path + step, deep)]
        path += f"{deep}/"
    far = "/".join(steps) + "/" + "l" * 254
    entries += [link(far, "../" * len(steps)), link("out", f"{far}/..")]
    return [*entries, entry("out/passwd", b"new"), hard_link("flag", "out/passwd"), entry("flag", b"new")]


BREAKOUTS: dict[str, list[Entry]] = {
    "SymlinkAbsolute": [entry("etc"), link("localetc", "/etc"), entry("localetc/unbroken", b"x")],
    "SymlinkUpAndOut": [entry("etc"), entry("dummy"), link("dummy/out", "/dummy/../etc"), entry("dummy/out/x", b"x")],
    "SymlinkMultipleAbsolute": [entry("etc"), entry("a"), link("a/1", "/etc"), link("2", "/a/1"), entry("2/x", b"x")],
    "SymlinkMultipleRelative": [entry("etc"), link("1", "etc"), link("2", "1"), entry("2/x", b"x")],
    "SymlinkEmptyFile": [link("empty", "../passwd"), entry("empty", b"new")],
    "SymlinkParentRelative": [entry("etc"), link("l", "../../../../../etc"), entry("l/x", b"x")],
    "SymlinkUpToCanary": [link("l", "../../../../../../.."), entry("l/x", b"x")],
    "SymlinkChainPastPathMax": chain_past_path_max(),
    "SymlinkSlashEnded": [entry("etc"), link("l", "/etc/"), entry("l/x", b"x")],
    "SymlinkOverrideDirectory": [entry("d"), entry("d/x", b"x"), link("d", "/etc")],
    "SymlinkOverrideDirectoryRelative": [entry("d"), entry("d/x", b"x"), link("d", "../../etc")],
    "SymlinkOverridePath": [entry("a"), entry("a/b"), link("a", "../.."), entry("a/b/x", b"x")],
    "HardlinkRelative": [entry("etc/passwd", b"in"), hard_link("l", "etc/passwd"), entry("l", b"new")],
    "HardlinkDownAndOut": [entry("d"), hard_link("d/l", "../../passwd")],
    "HardlinkAbsolute": [hard_link("l", "/passwd")],
    "HardlinkRelativeLong": [hard_link("l", "../../../../../../passwd")],
    "HardlinkSymlinkBeforeCreateTarget": [
        entry("etc/passwd", b"in"),
        link("l", "/etc/passwd"),
        hard_link("h", "l"),
        entry("h", b"new"),
    ],
    "HardlinkSymlinkRelative": [entry("etc/passwd", b"in"), link("l", "../../../../etc/passwd"), hard_link("h", "l")],
    "HardlinkSymlinkChmod": [link("l", "../passwd"), hard_link("h", "l"), entry("h2", b"", mode=0o777)],
    "HardlinkThroughDirectoryLink": [link("up", ".."), hard_link("h", "up/passwd")],
    "DirectoryOverrideSymlink": [entry("b"), link("x", ".."), entry("x"), entry("x/passwd", b"new")],
    "DirectoryOverrideSymlinkAndHardlink": [
        entry("etc/p", b"in"),
        link("x", "../passwd"),
        hard_link("y", "x"),
        entry("y"),
    ],
    "WhiteoutRootParent": [entry(".wh...", b"")],
    "WhiteoutParent": [entry("etc/.wh...", b"")],
    "WhiteoutCurrentDirectory": [entry("etc/.wh..", b"")],
    "WhiteoutSymlink": [link("l", ".."), entry("l/.wh.passwd", b"")],
    "WhiteoutRelativePath": [entry("dummy"), entry("dummy/../../.wh.passwd", b"")],
    "NameUpAndOut": [entry("../passwd", b"new")],
    "NameAbsolute": [entry("/etc/x", b"x")],
    "RootIsALink": [link(".", "/etc")],
    "RootIsAFile": [entry("./", b"x", type=tarfile.REGTYPE)],
    "MagicLink": [link("l", "/proc/self/cwd"), entry("l/passwd", b"new")],
    "SymlinkParentDirectory": [link("l", ".."), entry("l/passwd", b"new")],
    "SymlinkEmptyFilename": [link("", "../passwd"), entry("", b"new", type=tarfile.REGTYPE)],
    "HardlinkDirectRelative": [hard_link("l", "../passwd"), entry("l", b"new")],
    "HardlinkDirectAbsolute": [hard_link("l", "/../passwd"), entry("l", b"new")],
    "HardlinkRelativeUpAndOut": [entry("d"), hard_link("l", "d/../../passwd"), entry("l", b"new")],
    "HardlinkSymlinkAbsolute": [link("l", "/passwd"), hard_link("h", "l"), entry("h", b"new")],
    "WhiteoutRoot": [entry(".wh.", b"")],
    "WhiteoutSymlinkPath": [link("d", "../etc"), entry("d/.wh.x", b"")],
    "WhiteoutDirectoryName": [entry("etc"), entry(".wh.etc/passwd", b"")],
    "WhiteoutDeadSymlinkParent": [link("dead", "nothing/none"), entry("dead/.wh.x", b"")],
    "WhiteoutAsDirectory": [entry(".wh.d"), entry(".wh.d/.wh...", b"")],
    "WhiteoutOfWhiteouts": [entry(".wh..wh..opq", b""), entry(".wh..wh.x", b"")],
    "TypeFlips": [entry("x", b"1"), entry("x"), link("x", ".."), entry("x/passwd", b"new"), entry("x", b"2")],
    "PaxPath": [entry("f", b"new", pax_headers={"path": "../passwd"})],
    "PaxLinkpath": [
        entry("l", type=tarfile.LNKTYPE, linkname="x", pax_headers={"linkpath": "../passwd"}),
        entry("l", b"new"),
    ],
    "Newline": [entry("../pass\nwd", b"new"), entry("a\x1b[2J", b"x")],
    "OpaqueThroughLink": [link("l", ".."), entry("l/.wh..wh..opq", b"")],
}


@pytest.mark.parametrize("name", BREAKOUTS)
def test_nothing_leaves_the_root(target: Target, name: str) -> None:
    try:
        target.unpack(archive(BREAKOUTS[name]))
    except (Refused, OSError):
        pass  # a refusal is as good
    assert target.untouched()
    assert (target.base / "passwd").stat().st_nlink == 1


def test_a_directory_replaced_by_a_link_between_layers_is_not_followed(target: Target) -> None:
    """As one layer lies on another, each in a directory of its own, a link of a lower one is never written through."""
    target.unpack(archive([link("d", "..")]))
    above = target.base / "etc"
    above.mkdir()
    target.unpack(archive([]), parents=(str(above),))
    assert target.untouched()


@pytest.mark.parametrize(
    "entries",
    [
        [entry("dev", type=tarfile.CHRTYPE, devmajor=0, devminor=0)],
        [entry("f", b"", uid=2**32)],
        [entry("f", b"", gid=-1)],
        [entry("n" * 256, b"")],
        [entry("f", type=b"Z")],
        [entry("/".join(["d"] * 2000) + "/f", b"")],
        [link("loop", "loop"), entry("loop/f", b"x")],
    ],
    ids=["whiteout-device", "uid", "gid", "component", "type", "depth", "loop"],
)
def test_what_no_layer_needs_is_refused(target: Target, entries: list[Entry]) -> None:
    with pytest.raises((Refused, OSError, ValueError)):
        target.unpack(archive(entries))


def test_whiteouts_become_what_overlayfs_knows(target: Target) -> None:
    target.unpack(
        archive(
            [entry("d"), entry("d/.wh.gone", b""), entry("e"), entry("e/.wh..wh..opq", b""), entry(".wh..wh.plnk", b"")]
        )
    )
    about = os.lstat(target.root / "d" / "gone")
    assert stat.S_ISCHR(about.st_mode) and about.st_rdev == 0
    assert os.getxattr(target.root / "e", "trusted.overlay.opaque") == b"y"
    assert not (target.root / ".wh..wh.plnk").exists()


def test_owners_modes_times_and_special_files_are_kept(target: Target) -> None:
    entries = [
        entry("d", mode=0o1777, uid=5, gid=6, mtime=1000),
        entry("d/su", b"x", mode=0o4755, uid=7, gid=8, mtime=2000),
        entry("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        hard_link("also", "d/su"),
    ]
    target.unpack(archive(entries))
    directory, program = os.lstat(target.root / "d"), os.lstat(target.root / "d" / "su")
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_mtime) == (0o1777, 5, 1000)
    assert (stat.S_IMODE(program.st_mode), program.st_uid, program.st_gid, program.st_mtime) == (0o4755, 7, 8, 2000)
    assert program.st_nlink == 2
    assert stat.S_ISFIFO(os.lstat(target.root / "pipe").st_mode)
    assert os.lstat(target.root / "null").st_rdev == os.makedev(1, 3)


def test_only_harmless_extended_attributes_are_kept(target: Target) -> None:
    info, content = entry("f", b"x")
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    info.pax_headers = {
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.user.mine": "v",
    }
    target.unpack(archive([(info, content)]))
    assert sorted(os.listxattr(target.root / "f")) == ["security.capability", "user.mine"]


def test_a_parent_that_is_not_named_looks_as_in_the_layer_below(target: Target) -> None:
    below = target.base / "etc"
    (below / "tmp").mkdir(parents=True)
    os.chmod(below / "tmp", 0o1777)
    target.unpack(archive([entry("tmp/f", b"x")]), parents=(str(below),))
    assert stat.S_IMODE(os.stat(target.root / "tmp").st_mode) == 0o1777


def test_a_bomb_is_refused_early(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.runtime.images.unpack.SMALL_BYTES", 1 << 20)
    zeros = archive([entry("f", bytes(64 << 20))])
    with pytest.raises(Refused, match="larger than"):
        target.unpack(gzip.compress(zeros), "gzip")
    assert sum(path.stat().st_size for path in target.root.rglob("*")) < 8 << 20


def test_a_layer_of_several_gzip_members_is_one_and_counts_as_one(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T49."""
    whole = archive([entry("f", b"first" * 1000), entry("g", b"second")])
    parts = (whole[:700], b"", whole[700:])
    target.unpack(b"".join(map(gzip.compress, parts)), "gzip")
    assert (target.root / "f").read_bytes() == b"first" * 1000 and (target.root / "g").read_bytes() == b"second"
    monkeypatch.setattr("kybern.runtime.images.unpack.SMALL_BYTES", 1 << 20)
    zeros = archive([entry("zeros", bytes(64 << 20))])
    bomb = b"".join(gzip.compress(zeros[at : at + (1 << 19)]) for at in range(0, len(zeros), 1 << 19))
    with pytest.raises(Refused, match="larger than"):
        target.unpack(bomb, "gzip")


def test_more_entries_than_any_layer_has_are_refused(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """T45: those before the one too many are all that is ever made."""
    monkeypatch.setattr("kybern.runtime.images.unpack.ENTRIES_MAX", 100)
    target.unpack(archive([entry(f"fits-{number}", b"") for number in range(100)]))
    with pytest.raises(Refused, match="more than 100 entries"):
        target.unpack(archive([entry(f"f-{number}", b"") for number in range(1000)]))
    assert len(list(target.root.glob("f-*"))) == 100


@pytest.mark.parametrize(
    ("time", "kept"),
    [("1e400", 0), ("nan", 0), ("-1e400", 0), ("-5", 0), (str(2**70), 2**33), ("1e19", 2**33), ("12.75", 12)],
)
def test_a_time_that_no_file_can_have_is_brought_into_range(target: Target, time: str, kept: int) -> None:
    """T44."""
    target.unpack(
        archive([entry(name, content, pax_headers={"mtime": time}) for name, content in (("d", None), ("f", b""))])
    )
    assert {(target.root / name).stat().st_mtime for name in "df"} == {kept}


def test_a_sparse_file_counts_with_its_whole_length(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.runtime.images.unpack.SMALL_BYTES", 1 << 20)
    info, content = entry("f", b"x")
    info.pax_headers = {"GNU.sparse.size": str(1 << 36), "GNU.sparse.map": "0,1"}
    with pytest.raises(Refused, match="larger than"):
        target.unpack(archive([(info, content)]))
    assert (target.root / "f").stat().st_size < 8 << 20


def header(**fields: Any) -> bytearray:
    info = tarfile.TarInfo("f")
    for name, value in fields.items():
        setattr(info, name, value)
    return bytearray(info.tobuf(tarfile.GNU_FORMAT))


def summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def test_a_size_that_is_negative_or_beyond_all_disks_is_refused(target: Target) -> None:
    """T43: base-256, as GNU tar writes what eight digits do not hold."""
    for size in (b"\xff" * 12, b"\x80" + b"\x7f" * 11):
        block = header(size=1)
        block[124:136] = size
        with pytest.raises((Refused, tarfile.TarError, OSError, ValueError, EOFError)):
            target.unpack(summed(block) + bytes(10_240))
    assert target.untouched()


@pytest.mark.parametrize("name", [".wh.x", "hole"])
def test_an_entry_that_is_longer_than_its_archive_is_not_skipped_for_ages(target: Target, name: str) -> None:
    """A whiteout's content is not read, nor a sparse file's that has none: it would be skipped, ten kilobytes at a time."""
    block = header(name=name, type=tarfile.REGTYPE if name == ".wh.x" else tarfile.GNUTYPE_SPARSE)
    block[124:136] = b"\x80" + (1 << 80).to_bytes(11, "big")
    with pytest.raises(Refused, match="ends within an entry"):
        target.unpack(summed(block) + bytes(10_240))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_a_hundred_megabytes_is_refused_before_it_is_read(target: Target, kind: bytes) -> None:
    """T41, T42."""
    size = 100 << 20
    whole = gzip.compress(summed(header(type=kind, size=size)) + bytes(size) + archive([entry("f", b"x")]), 1)
    tracemalloc.start()
    try:
        with pytest.raises((Refused, tarfile.TarError, OSError, ValueError, EOFError)):
            target.unpack(whole, "gzip")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_zstd_window_of_two_gigabytes_is_refused(target: Target) -> None:
    """T50: who decompresses it needs as much memory."""
    zstd = pytest.importorskip("backports.zstd")
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00"  # a window of 2 ** (10 + 21)
    with pytest.raises(zstd.ZstdError, match="too much memory"):
        target.unpack(frame, "zstd")


@pytest.mark.parametrize("damage", ["truncated", "junk", "empty"])
def test_a_damaged_archive_is_refused_or_has_another_digest(target: Target, damage: str) -> None:
    whole = gzip.compress(archive([entry("f", b"x" * 100_000)]))
    data = {"truncated": whole[: len(whole) // 2], "junk": whole + b"junk", "empty": b""}[damage]
    with pytest.raises((tarfile.TarError, EOFError, OSError)):
        target.unpack(data, "gzip")


async def test_a_layer_with_another_digest_is_never_used(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    blob = tmp_path / "blob"
    blob.write_bytes(archive([entry("f", b"x")]))
    with pytest.raises(BadImage, match="wrong diff id"):
        await snapshots.unpack(blob, "", [digest_of(b"something else")])
    assert list(snapshots.directory.iterdir()) == []


async def test_what_a_crash_left_half_unpacked_is_swept(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    blob, data = tmp_path / "blob", archive([entry("f", b"x")])
    blob.write_bytes(data)
    half = snapshots.directory / f".new-{digest_of(data).removeprefix('sha256:')}"
    half.mkdir()
    (half / "old").touch()
    assert snapshots.layers([digest_of(data)]) is None
    Snapshots(tmp_path / "snapshots").sweep()
    assert not half.exists()
    await snapshots.unpack(blob, "", [digest_of(data)])
    assert sorted(path.name for path in snapshots.path(digest_of(data)).iterdir()) == ["f"]


VALID = archive(
    [
        entry("d"),
        link("d/l", "../x"),
        entry("d/f", b"y" * 700),
        hard_link("h", "d/f"),
        entry("n" * 120, b"long", pax_headers={"SCHILY.xattr.user.note": "kept"}),
        link("up", "../passwd"),
        entry("d/.wh.f", b""),
        entry("d/.wh..wh..opq", b""),
        entry("pipe", type=tarfile.FIFOTYPE),
    ]
)
BLOCK = tarfile.BLOCKSIZE
FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
HOSTILE = (b"../passwd", b"/", b"", b"..", b".wh...", b"up/x", b"7" * 12, b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-1")
KINDS = b"012345678xgLKSZ\0"


def damaged(rng: random.Random) -> bytes:
    """A few things are wrong with it. Most headers have the right checksum, else nobody would read what is in them."""
    data = bytearray(VALID)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) // BLOCK) * BLOCK
        match rng.randrange(6):
            case 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                data[at : at + BLOCK] = data[(other := rng.randrange(len(data) // BLOCK) * BLOCK) : other + BLOCK]
            case 2:
                del data[at : at + rng.choice((1, BLOCK))]
            case 3:
                data[at + 156] = rng.choice(KINDS)
            case _:
                offset, size = rng.choice(FIELDS)
                data[at + offset : at + offset + size] = rng.choice(HOSTILE)[:size].ljust(size, b"\0")
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[at + 257 : at + 262] == b"ustar" and rng.random() < 0.9:
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
    return bytes(data)


def test_random_damage_never_leaves_the_root(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a descriptor behind. What a header says is there of a sparse file is not worth half a gigabyte of zeros each time."""
    monkeypatch.setattr("kybern.runtime.images.unpack.SMALL_BYTES", 1 << 20)
    refused, descriptors = 0, len(os.listdir("/proc/self/fd"))
    for seed in range(ARCHIVES):
        try:
            target.unpack(damaged(random.Random(seed)))
        except (Refused, tarfile.TarError, OSError, ValueError, EOFError):
            refused += 1
        assert target.untouched(), f"seed {seed}"
    assert ARCHIVES // 10 < refused < ARCHIVES, "some are harmless"
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_zstd_layers_are_unpacked(target: Target) -> None:
    zstd = pytest.importorskip("backports.zstd")
    target.unpack(zstd.compress(archive([entry("f", b"hello")])), "zstd")
    assert (target.root / "f").read_bytes() == b"hello"


def test_what_is_not_in_the_archive_cannot_be_linked(target: Target) -> None:
    with pytest.raises(OSError):
        target.unpack(archive([hard_link("h", "nothing")]))
