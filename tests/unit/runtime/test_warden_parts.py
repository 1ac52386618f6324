"""The warden's parts that need no kernel: log lines, messages, users, outcomes."""

import errno
import os
import random
import socket
from pathlib import Path

import pytest

from kybern.linux.cgroup_detect import detect
from kybern.runtime.warden import service, streams
from kybern.runtime.warden.containers import Container, Containers, names_of, outcome
from kybern.runtime.warden.execs import Execs
from kybern.runtime.warden.filesystem import SetupError
from kybern.runtime.warden.identity import resolve_user
from kybern.runtime.warden.logs import LINE_BYTES_MAX, Log, stamp
from kybern.runtime.warden.loop import Loop
from kybern.runtime.warden.messages import HEADER, Broken, Inbox, Outbox
from kybern.runtime.warden.streams import Streams


def records(path: Path) -> list[tuple[str, str, str]]:
    return [tuple(line.split(" ", 3)[1:]) for line in path.read_text().splitlines()]  # type: ignore[misc]


def test_lines_are_whole_however_they_arrive(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "logs" / "0.log"))
    for piece in (b"on", b"e\ntwo\nth", b"ree"):
        log.write("stdout", piece)
    log.write("stderr", b"other\n")
    log.finish()
    assert records(tmp_path / "logs" / "0.log") == [
        ("stdout", "F", "one"), ("stdout", "F", "two"), ("stderr", "F", "other"), ("stdout", "P", "three"),
    ]  # fmt: skip


def test_a_long_line_is_written_in_parts_and_nothing_is_lost(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "0.log"))
    line = b"x" * (LINE_BYTES_MAX * 3 + 5)
    for start in range(0, len(line), 1000):
        log.write("stdout", line[start : start + 1000])
    log.write("stdout", b"\n")
    found = records(tmp_path / "0.log")
    assert [kind for _, kind, _ in found] == ["P", "P", "P", "F"]
    assert "".join(text for _, _, text in found).encode() == line


@pytest.mark.parametrize("size", [7, 8000, LINE_BYTES_MAX, 3 * LINE_BYTES_MAX])
def test_lines_of_every_length_are_whole_wherever_the_pieces_end(tmp_path: Path, size: int) -> None:
    rng = random.Random(size)
    lines = [b"x" * (rng.randrange(2 * size)) for _ in range(200)]
    text = b"".join(line + b"\n" for line in lines)
    log = Log(str(tmp_path / "0.log"))
    while text:
        end = rng.randrange(1, 4 * size)
        log.write("stdout", text[:end])
        text = text[end:]
    log.finish()
    found, whole = [], b""
    for _, kind, piece in records(tmp_path / "0.log"):
        assert len(piece) <= LINE_BYTES_MAX
        whole += piece.encode()
        if kind == "F":
            found.append(whole)
            whole = b""
    assert (found, whole) == (lines, b"")


def test_a_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "0.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Log(str(tmp_path / "0.log"))


def test_a_log_is_never_written_into_a_pipe_which_would_stop_everybody(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = Log(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError):
        log.reopen()
    log.write("stdout", b"goes on\n")  # to where it went before


def test_stamps_are_rfc3339_with_nanoseconds() -> None:
    assert stamp(1_767_225_600_000_000_007) == b"2026-01-01T00:00:00.000000007Z"


class Still(Loop):
    """Nothing is called by itself; `rests` are the moments that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[float] = []

    def rest(self, descriptor: int, seconds: float) -> None:
        self.rests.append(seconds)


def test_a_stream_that_writes_all_the_time_is_read_once_a_millisecond_and_any_other_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, (read, write) = Still(), os.pipe()
    shown = Streams(loop, None, {"stdout": read})
    moment = iter([0.0])
    monkeypatch.setattr(streams.time, "monotonic", lambda: next(moment))

    def rests(at: float, data: bytes) -> int:
        nonlocal moment
        moment = iter([at])
        os.write(write, data)
        before = len(loop.rests)
        loop.callbacks[read]()
        return len(loop.rests) - before

    assert [rests(at, b"line\n") for at in (10.0, 20.0, 20.0005, 20.0015, 20.1)] == [0, 0, 1, 1, 0]
    assert rests(20.1005, bytes(40_000)) == 0, "a pipe of 64 KiB that is nearly full: its writer is not kept waiting"
    assert [rests(at, b"line\n") for at in (20.1010, 20.1050, 20.1060, 20.1150, 20.1160)] == [0, 0, 0, 0, 1], (
        "nor is who did so a moment ago: a quick reader finds little, and a rest would stop the writer for most of it"
    )
    os.close(write)
    shown.finish()


def test_a_descriptor_that_rests_is_called_when_its_moment_is_over_or_its_other_end_closes() -> None:
    loop, (read, write) = Loop(), os.pipe()
    calls: list[bytes] = []

    def ready() -> None:
        calls.append(os.read(read, 100))
        loop.stopped = True

    def run_once() -> list[bytes]:
        loop.stopped = False
        loop.run()
        return calls

    loop.watch(read, ready)
    os.write(write, b"a")
    loop.rest(read, 3600.0)
    loop.later(0.0, lambda: setattr(loop, "stopped", True))
    assert run_once() == []
    os.write(write, b"b")
    os.close(write)
    assert run_once() == [b"ab"]
    os.close(read)
    read, write = os.pipe()
    loop.callbacks.clear()
    loop.watch(read, ready)
    os.write(write, b"c")
    loop.rest(read, 0.0)
    assert run_once() == [b"ab", b"c"]
    os.close(read)
    os.close(write)


def test_messages_keep_their_descriptors() -> None:
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    read, write = os.pipe()
    outbox, inbox = Outbox(), Inbox()
    outbox.put({"a": 1})
    outbox.put({"b": 2}, [write])
    assert outbox.flush(here)
    while inbox.buffer == b"" or len(inbox.descriptors) == 0:
        inbox.receive(there)
    found = list(inbox.messages())
    assert [message for message, _ in found] == [{"a": 1, "fds": 0}, {"b": 2, "fds": 1}]
    [received] = found[1][1]
    os.write(received, b"x")
    assert os.read(read, 1) == b"x"
    for descriptor in (read, received):
        os.close(descriptor)
    here.close()
    there.close()


@pytest.mark.parametrize("data", [HEADER.pack(1 << 30), HEADER.pack(2) + b"{]", HEADER.pack(10) + b'{"fds": 1}'])
def test_what_is_no_message_breaks_the_connection(data: bytes) -> None:
    inbox = Inbox()
    inbox.buffer += data
    with pytest.raises(Broken):
        list(inbox.messages())


@pytest.mark.parametrize(
    ("status", "oom", "expected"),
    [
        (0, False, (0, 0, "Completed")),
        (3 << 8, False, (3, 0, "Error")),
        (15, False, (143, 15, "Error")),
        (9, True, (137, 9, "OOMKilled")),
        (0, True, (0, 0, "Completed")),
        (None, False, (255, 0, "Unknown")),
    ],
)
def test_how_a_container_ended(status: int | None, oom: bool, expected: tuple[int, int, str]) -> None:
    found = outcome(status, oom=oom)
    assert (found["exit_code"], found["signal"], found["reason"]) == expected


def test_kept_descriptors_are_told_apart_by_their_number() -> None:
    assert [names_of([0] * count) for count in (1, 2, 3)] == [
        ("terminal",), ("stdout", "stderr"), ("stdin", "stdout", "stderr"),
    ]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> int:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(
        "root:x:0:0:r:/root:/bin/sh\nweb:x:1000:1001:w:/home/web:/bin/sh\nbad:x:z:0:::\n"
    )
    (tmp_path / "etc" / "group").write_text("root:x:0:\nstaff:x:50:web,other\n")
    return os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (0, 0, (0,), "/root")),
        ({"username": "web"}, (1000, 1001, (50, 1001), "/home/web")),
        ({"username": "1000"}, (1000, 1001, (50, 1001), "/home/web")),
        ({"username": "web:staff"}, (1000, 50, (50,), "/home/web")),
        ({"username": "1000:7"}, (1000, 7, (7, 50), "/home/web")),
        ({"uid": 4242}, (4242, 0, (0,), "/")),
        ({"uid": 1000, "gid": 9, "additionalGids": [3]}, (1000, 9, (3, 9, 50), "/home/web")),
        ({"uid": 1000, "policy": "Strict", "additionalGids": [3]}, (1000, 1001, (3, 1001), "/home/web")),
    ],
)
def test_users_are_looked_up_in_the_container(
    root: int, asked: dict[str, object], expected: tuple[object, ...]
) -> None:
    assert tuple(resolve_user(root, asked)) == expected


@pytest.mark.parametrize(
    "asked",
    [{"username": "nope"}, {"username": "bad"}, {"username": "0x0"}, {"username": "-1"}, {"username": "web:nope"},
     {"uid": -1}, {"uid": 2**31}, {"username": str(2**32)}, {"uid": 1, "gid": 2**31}, {"username": "99999999999999999999"}],
)  # fmt: skip
def test_users_that_are_none_are_refused(root: int, asked: dict[str, object]) -> None:
    with pytest.raises(SetupError):
        resolve_user(root, asked)


def test_account_files_that_are_no_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc" / "passwd")
    (tmp_path / "etc" / "group").symlink_to("/proc/self/mem")
    opened = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    assert resolve_user(opened, {}).uid == 0
    os.close(opened)


def test_an_agent_that_reads_nothing_is_hung_up_on_and_nobody_else_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "UNSENT_MESSAGES_MAX", 3)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "warden.sock"))
        serving = service.Service(Loop(), listener)
        serving.execs = Execs(serving.loop, detect(), lambda made, code: None)
        here, there = socket.socketpair()
        serving.connections.append(service.Connection(there, serving))
        for _ in range(10):
            serving.changed(Container("c", {"message": "x" * (1 << 20)}))
        assert serving.connections == []
        here.close()
        serving.loop.epoll.close()


class Busy:
    """Groups whose processes take a while to die."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def kill(self, path: str) -> None:
        pass

    def remove(self, path: str, wait_seconds: float) -> None:
        assert wait_seconds == 0, "the loop is everybody's"
        self.looks -= 1
        if self.looks >= 0:
            raise OSError(errno.EBUSY, "Device or resource busy", path)


def test_others_have_their_turn_while_a_removed_containers_processes_die(tmp_path: Path) -> None:
    loop = Loop()
    containers = Containers(loop, str(tmp_path), Busy(looks=3), None, print)  # type: ignore[arg-type]
    containers.by_id["a"] = Container("a", {"status": "exited"})
    told: list[str] = []

    def answer(error: OSError | None) -> None:
        told.append(f"removed {sorted(containers.by_id)} {error}")
        loop.stopped = True

    containers.forget("a", "/pods/a", answer)
    loop.later(0, lambda: told.append(f"a turn {sorted(containers.by_id)}"))
    loop.run()
    assert told == ["a turn ['a']", "removed [] None"]


def test_a_group_that_stays_busy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.runtime.warden.containers.REMOVE_SECONDS", 0.01)
    loop = Loop()
    containers = Containers(loop, str(tmp_path), Busy(looks=10**6), None, print)  # type: ignore[arg-type]
    told: list[OSError | None] = []

    def answer(error: OSError | None) -> None:
        told.append(error)
        loop.stopped = True

    containers.forget("a", "/pods/a", answer)
    loop.run()
    assert [error.errno for error in told if error] == [errno.EBUSY]


def test_a_container_that_is_started_while_what_is_left_of_it_is_removed_stays(tmp_path: Path) -> None:
    loop = Loop()
    containers = Containers(loop, str(tmp_path), Busy(looks=3), None, print)  # type: ignore[arg-type]
    told: list[OSError | None] = []

    def answer(error: OSError | None) -> None:
        told.append(error)
        loop.stopped = True

    containers.forget("a", "/pods/a", answer)  # a warden that was killed left the group only
    started = containers.by_id["a"] = Container("a", {"status": "running"})
    loop.run()
    assert [error.errno for error in told if error] == [errno.EBUSY]
    assert containers.by_id == {"a": started}


def test_who_asks_twice_is_answered_twice(tmp_path: Path) -> None:
    loop = Loop()
    containers = Containers(loop, str(tmp_path), Busy(looks=3), None, print)  # type: ignore[arg-type]
    containers.by_id["a"] = Container("a", {"status": "exited"})
    told: list[OSError | None] = []

    def answer(error: OSError | None) -> None:
        told.append(error)
        loop.stopped = len(told) == 2

    for _ in range(2):
        containers.forget("a", "/pods/a", answer)
    loop.run()
    assert told == [None, None] and containers.by_id == {}
