"""Is the cluster up? Asks the supervisor's socket, the one place that knows."""

import json
import os
import select
import signal
import socket
import struct
from pathlib import Path
from typing import Any

ANSWER_BYTES_MAX = 1 << 20
STOP_SECONDS = 60.0
ANSWER_SECONDS = 5.0


class NoAnswer(TimeoutError):
    """The machine is very busy, or the supervisor stands still."""


def status(control_socket: Path) -> dict[str, Any] | None:
    """What the supervisor says; None when there is none. NoAnswer when there is one and it says nothing."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(control_socket))
            pieces = []
            while piece := connection.recv(65536):
                pieces.append(piece)
            found: dict[str, Any] = json.loads(b"".join(pieces))
            found["pid"] = peer_pid(connection)
            return found
    except TimeoutError:
        raise NoAnswer(f"the cluster's supervisor did not answer in {ANSWER_SECONDS:.0f} s") from None
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, json.JSONDecodeError):
        return None  # the last two: it died while it answered


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end, by the kernel's word (unix(7), SO_PEERCRED)."""
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def stop(control_socket: Path) -> bool:
    """Tell the supervisor to stop and wait until it has. False when none runs. TimeoutError when it does not end."""
    known = status(control_socket)
    if known is None:
        return False
    pid = known["pid"]
    watched = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        wait_for_end(watched, pid, max(STOP_SECONDS, known.get("stop_seconds", 0)))
    finally:
        os.close(watched)
    return True


def look_again(control_socket: Path) -> bool:
    """Tell the supervisor that other programs may be wanted now. False when none runs."""
    known = status(control_socket)
    if known is None:
        return False
    os.kill(known["pid"], signal.SIGHUP)
    return True


def program_names(control_socket: Path) -> set[str]:
    known = status(control_socket)
    return {program["name"] for program in known["programs"]} if known else set()


def wait_for_end(pidfd: int, pid: int, seconds: float = STOP_SECONDS) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise TimeoutError(f"the supervisor (process {pid}) did not stop in {seconds:.0f} s")
