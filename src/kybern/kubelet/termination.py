"""The termination message: what a container left to say, from its file or, if it failed, from the end of its log."""

import os
from dataclasses import replace

from kybern.kubelet.logs import open_plain
from kybern.kubelet.observed import MESSAGE_FILE, MESSAGE_POLICY
from kybern.runtime.cri import ContainerState, ContainerStatus

MESSAGE_BYTES_MAX = 4096
LOG_BYTES_MAX = 2048
LOG_LINES_MAX = 80


def with_message(status: ContainerStatus) -> ContainerStatus:
    if status.state is not ContainerState.EXITED:
        return status
    message = termination_message(status)
    return replace(status, message=message) if message else status


def termination_message(status: ContainerStatus) -> str:
    path = status.annotations.get(MESSAGE_FILE, "")
    message = _head(path, MESSAGE_BYTES_MAX) if path else ""
    policy = status.annotations.get(MESSAGE_POLICY, "")
    if not message and policy == "FallbackToLogsOnError" and status.exit_code != 0 and status.log_path:
        return log_tail(_tail(status.log_path, LOG_BYTES_MAX * 4))
    return message


def log_tail(text: str) -> str:
    """The last lines of a log in CRI format, without its timestamps; a part of a line has no line end."""
    records = [parts for line in text.splitlines() if len(parts := line.split(" ", 3)) == 4]
    joined = "".join(text if tag == "P" else f"{text}\n" for _, _, tag, text in records[-LOG_LINES_MAX:])
    return joined.encode()[-LOG_BYTES_MAX:].decode(errors="ignore")


def _head(path: str, size: int) -> str:
    """Nothing where the file is not there any more."""
    try:
        file = open_plain(path)
    except OSError:
        return ""
    with os.fdopen(file, "rb") as opened:
        return opened.read(size).decode(errors="replace")


def _tail(path: str, size: int) -> str:
    try:
        file = open_plain(path)
    except OSError:
        return ""
    with os.fdopen(file, "rb") as opened:
        length = os.fstat(file).st_size
        opened.seek(max(length - size, 0))
        text = opened.read(size).decode(errors="replace")
    return text if length <= size else text.partition("\n")[2]
