"""All of the old or all of the new, and nothing outside the volume."""

import os
import stat
import threading
from pathlib import Path

import pytest

from kybern.volumes.atomic import PathRefused, Projection, check_path, write


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not str(path.relative_to(directory)).startswith("..")
    }


def visible(directory: Path) -> set[str]:
    return {name for name in os.listdir(directory) if not name.startswith("..")}


def test_files_appear_through_one_link(tmp_path: Path) -> None:
    assert write(str(tmp_path), {"a": Projection(b"1"), "d/b": Projection(b"2", 0o400)}, "one")
    assert (tmp_path / "a").read_bytes() == b"1" and (tmp_path / "d" / "b").read_bytes() == b"2"
    assert os.readlink(tmp_path / "..data") == "..one" and os.readlink(tmp_path / "a") == "..data/a"
    assert stat.S_IMODE((tmp_path / "d" / "b").stat().st_mode) == 0o400


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(str(tmp_path), {"d/a": Projection(b"", 0o666)}, "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d" / "a").stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    write(str(tmp_path), {"a": Projection(b"1")}, "one")
    assert not write(str(tmp_path), {"a": Projection(b"1")}, "two")
    assert os.readlink(tmp_path / "..data") == "..one"


@pytest.mark.parametrize(
    "payload", [{"a": Projection(b"2")}, {"a": Projection(b"1", 0o600)}, {"b": Projection(b"1")}, {}]
)
def test_any_difference_makes_a_new_generation(tmp_path: Path, payload: dict[str, Projection]) -> None:
    write(str(tmp_path), {"a": Projection(b"1")}, "one")
    assert write(str(tmp_path), payload, "two")
    assert visible(tmp_path) == set(payload)
    assert not (tmp_path / "..one").exists()


def test_a_reader_of_the_old_keeps_the_old(tmp_path: Path) -> None:
    write(str(tmp_path), {"a": Projection(b"old")}, "one")
    with open(tmp_path / "a", "rb") as opened:
        write(str(tmp_path), {"a": Projection(b"new")}, "two")
        assert opened.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "..half").mkdir()
    (tmp_path / "..half" / "a").write_bytes(b"x")
    (tmp_path / "..data_tmp").symlink_to("..half")
    write(str(tmp_path), {"a": Projection(b"1")}, "one")
    assert set(os.listdir(tmp_path)) == {"..data", "..one", "a"}


def test_a_group_may_read_what_it_owns(tmp_path: Path) -> None:
    write(str(tmp_path), {"a": Projection(b"1", 0o600)}, "one", fs_group=os.getgid())
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert not write(str(tmp_path), {"a": Projection(b"1", 0o600)}, "two", fs_group=os.getgid())


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../x", "a/../../b", "a/..", "..data", "..data/x", "./a", "a//b", "a/./b", "a\0b",
     "x" * 256, "a/" * 2100 + "a", "..x", "../../../../etc/shadow"],
)  # fmt: skip
def test_a_path_that_could_lead_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(PathRefused):
        check_path(path)
    with pytest.raises(PathRefused):
        write(str(tmp_path), {path: Projection(b"x")}, "one")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["a", "a/b", ".hidden", "a..b", "...x"[1:], "é", "a b"])
def test_other_paths_are_not(path: str) -> None:
    if not path.startswith(".."):
        check_path(path)


def test_links_in_the_volume_are_not_followed_out_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "..data").symlink_to(outside)
    (volume / "a").symlink_to(outside / "a")
    write(str(volume), {"a": Projection(b"1")}, "one")
    assert os.listdir(outside) == []


def test_whoever_reads_while_it_is_written_reads_one_of_the_two(tmp_path: Path) -> None:
    """K: a token that is rotated under a reader, 1,000 times read."""
    tokens = [mark * 20_000 for mark in (b"a", b"b")]
    write(str(tmp_path), {"token": Projection(tokens[0])}, "0")
    done = threading.Event()

    def rotate() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            write(str(tmp_path), {"token": Projection(tokens[turn % 2])}, str(turn))

    def read_once() -> bytes:
        while True:
            try:
                return (tmp_path / "token").read_bytes()
            except FileNotFoundError:  # the one it was led to went before it got there: no part of it was read
                pass

    rotating = threading.Thread(target=rotate)
    rotating.start()
    try:
        read = [read_once() for _ in range(1000)]
    finally:
        done.set()
        rotating.join()
    assert set(read) <= set(tokens)
