"""Reading container logs."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.kubelet import logs
from kybern.kubelet.log_rotation import put_aside
from kybern.kubelet.logs import CHUNK_BYTES, LogOptions, read_log
from kybern.kubelet.observed import MESSAGE_FILE, MESSAGE_POLICY
from kybern.kubelet.server import log_options
from kybern.kubelet.termination import log_tail, termination_message
from kybern.runtime.cri import ContainerMetadata, ContainerState, ContainerStatus

LINES = """\
2026-01-01T00:00:00.000000001Z stdout F one
2026-01-01T00:00:01.5Z stderr F two
2026-01-01T00:00:02Z stdout P thr
2026-01-01T00:00:02Z stdout F ee
2026-01-01T00:00:03Z stdout F {}
""".format("")


async def read(path: Path, **options: Any) -> str:
    pieces = [piece async for piece in read_log(str(path), LogOptions(**options), lambda: False, SystemClock())]
    return b"".join(pieces).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_text(LINES)
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "one\ntwo\nthree\n\n"),
        ({"tail_lines": 0}, ""),
        ({"tail_lines": 1}, "\n"),
        ({"tail_lines": 2}, "ee\n\n"),
        ({"tail_lines": 100}, "one\ntwo\nthree\n\n"),
        ({"since": 1_767_225_601.0}, "two\nthree\n\n"),
        ({"stream": "stderr"}, "two\n"),
        ({"bytes_max": 5}, "one\nt"),
        ({"tail_lines": 1, "timestamps": True}, "2026-01-01T00:00:03Z \n"),
    ],
)
async def test_a_log_is_read_as_asked(log: Path, options: dict[str, Any], expected: str) -> None:
    assert await read(log, **options) == expected


def replace_with(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "link":
        canary = path.with_name("canary")
        canary.write_text(LINES)
        path.symlink_to(canary)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
async def test_a_log_that_a_pod_replaced_is_not_followed_and_stops_nobody(log: Path, kind: str) -> None:
    replace_with(kind, log)
    async with asyncio.timeout(5):
        with pytest.raises(OSError):
            await read(log)
    assert (last_words(log), last_words(log, MESSAGE_FILE)) == ("", "")


async def test_without_that_care_a_link_is_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above proves nothing."""
    replace_with("link", log)
    monkeypatch.setattr(logs, "SAFELY", os.O_RDONLY)
    assert await read(log) == "one\ntwo\nthree\n\n"
    assert (last_words(log), last_words(log, MESSAGE_FILE)) == ("one\ntwo\nthree\n\n", LINES)


def last_words(path: Path, kind: str = "") -> str:
    """Of a container whose log is there, or whose message file."""
    status = ContainerStatus(
        id="c",
        sandbox_id="s",
        metadata=ContainerMetadata(name="c"),
        labels={},
        annotations={kind: str(path)} if kind else {MESSAGE_POLICY: "FallbackToLogsOnError"},
        state=ContainerState.EXITED,
        created_at=0.0,
        exit_code=1,
        log_path=str(path),
    )
    return termination_message(status)


async def test_the_tail_of_a_long_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    count = CHUNK_BYTES // 20
    path.write_text("".join(f"2026-01-01T00:00:00Z stdout F {number}\n" for number in range(count)))
    assert await read(path, tail_lines=2) == f"{count - 2}\n{count - 1}\n"
    assert len((await read(path, tail_lines=count - 1)).splitlines()) == count - 1


async def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("garbage\n\n2026-01-01T00:00:00Z stdout F ok\n2026-01-01T00:00:00Z stdo")
    assert await read(path) == "ok\n"


async def test_following_goes_on_through_a_rotation_until_the_container_ends(log: Path) -> None:
    running = True
    found: list[bytes] = []

    async def follow() -> None:
        options = LogOptions(follow=True, tail_lines=0)
        async for piece in read_log(str(log), options, lambda: running, SystemClock()):
            found.append(piece)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await asyncio.sleep(0)
        with log.open("a") as opened:
            opened.write("2026-01-01T00:00:04Z stdout F before\n")
        put_aside(str(log), 1_767_225_600.0, 5)
        log.write_text("2026-01-01T00:00:05Z stdout F after\n")
        while b"".join(found) != b"before\nafter\n":
            await asyncio.sleep(0.01)
        running = False
    assert b"".join(found) == b"before\nafter\n"


async def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(LINES)
    (tmp_path / "0.log").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        await read(tmp_path / "0.log")


def test_old_logs_are_kept_to_a_number(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "0.log").write_text(str(number))
        put_aside(str(tmp_path / "0.log"), 1_767_225_600.0 + number, 5)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_end_of_a_log_is_the_message_of_a_failed_container() -> None:
    assert log_tail(LINES) == "one\ntwo\nthree\n\n"
    assert len(log_tail("2026-01-01T00:00:00Z stdout F x\n" * 200)) == 160
    assert log_tail("2026-01-01T00:00:00Z stdout P no line end\n") == "no line end"


def test_the_parameters_of_a_log_request() -> None:
    found = log_options({"follow": ["true"], "tailLines": ["5"], "sinceSeconds": ["10"], "limitBytes": ["7"]}, 100.0)
    assert found == LogOptions(follow=True, tail_lines=5, since=90.0, bytes_max=7)


@pytest.mark.parametrize("params", [{"tailLines": ["-1"]}, {"limitBytes": ["x"]}, {"sinceTime": ["yesterday"]}])
def test_parameters_that_mean_nothing_are_refused(params: dict[str, list[str]]) -> None:
    with pytest.raises(Exception, match=r"must be a number|not a time"):
        log_options(params, 0.0)
