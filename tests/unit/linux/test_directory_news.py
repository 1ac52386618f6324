"""News of a directory ends a wait at once; without any, the time does."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kybern.linux.directory_news import GATHERING_SECONDS, DirectoryNews
from kybern.testing import virtual

NEVER = 1000.0

CHANGES: dict[str, Callable[[Path], object]] = {
    "a file that is written": lambda here: (here / "new").write_text("x"),
    "a file that is written again": lambda here: (here / "known").write_text("x"),
    "a file that goes": lambda here: (here / "known").unlink(),
    "a file that is moved in": lambda here: os.rename(here.parent / "outside", here / "moved"),
    "a file that is moved out": lambda here: os.rename(here / "known", here.parent / "left"),
    "a link": lambda here: (here / "link").symlink_to("known"),
}


def seconds(path: Path, change: Callable[[], object], longest: float) -> float:
    """That a wait takes, in virtual time, when this happens after it was last looked."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        with DirectoryNews(str(path)) as news:
            change()
            began = loop.time()
            await news.wait(longest)
            first = loop.time() - began
            await news.wait(longest)
            assert loop.time() - began - first == pytest.approx(longest), "what was told once is not told again"
            return first

    return virtual.run(main())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_in_it_ends_a_wait(tmp_path: Path, change: Callable[[Path], object]) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "known").touch()
    (tmp_path / "outside").touch()
    assert seconds(here, lambda: change(here), NEVER) == pytest.approx(GATHERING_SECONDS)


def test_what_happens_elsewhere_or_is_only_read_is_no_news(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "known").write_text("x")

    def elsewhere() -> None:
        (tmp_path / "other").touch()
        (here / "known").read_text()
        os.listdir(here)

    assert seconds(here, elsewhere, 20.0) == pytest.approx(20.0)


def test_a_directory_that_is_made_anew_is_heard_of_after_one_look(tmp_path: Path) -> None:
    async def main() -> float:
        here = tmp_path / "here"
        with DirectoryNews(str(here)) as news:
            await news.wait(NEVER)
            here.mkdir()
            await news.wait(1.0)
            here.rmdir()
            await news.wait(NEVER)
            here.mkdir()
            await news.wait(1.0)
            (here / "new").touch()
            began = asyncio.get_running_loop().time()
            await news.wait(NEVER)
            return asyncio.get_running_loop().time() - began

    assert virtual.run(main()) == pytest.approx(GATHERING_SECONDS)


def test_of_a_directory_that_has_another_name_by_now_nothing_is_told(tmp_path: Path) -> None:
    async def main() -> float:
        here, before = tmp_path / "here", tmp_path / "before"
        here.mkdir()
        with DirectoryNews(str(here)) as news:
            here.rename(before)
            here.mkdir()
            await news.wait(1.0)
            (before / "new").touch()
            await news.wait(1.0)
            began = asyncio.get_running_loop().time()
            (before / "newer").touch()
            await news.wait(20.0)
            return asyncio.get_running_loop().time() - began

    assert virtual.run(main()) == pytest.approx(20.0)


def test_without_room_for_another_watch_one_looks_each_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*arguments: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("kybern.linux.directory_news.call", refused)

    async def main() -> float:
        with DirectoryNews(str(tmp_path)) as news:
            (tmp_path / "new").touch()
            await news.wait(NEVER)
        return asyncio.get_running_loop().time()

    assert virtual.run(main()) == pytest.approx(1.0)
