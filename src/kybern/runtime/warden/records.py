"""What the warden knows about each container, on disk: a restarted warden or agent reads how things stand.

One file per container, replaced as a whole. A process is named by pid, start time and boot, so that a number that
was given to another process meanwhile is not taken for it.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from kybern.linux import processes

Record = dict[str, Any]

FILE = "state.json"


def save(state_dir: str, identifier: str, record: Record) -> None:
    directory = f"{state_dir}/{identifier}"
    os.makedirs(directory, 0o700, exist_ok=True)
    temporary = f"{directory}/.{FILE}"
    with open(temporary, "w", encoding="utf-8", opener=_private) as opened:
        json.dump(record, opened)
    os.replace(temporary, f"{directory}/{FILE}")


def load_all(state_dir: str) -> Iterator[tuple[str, Record]]:
    try:
        names = sorted(name for name in os.listdir(state_dir) if not name.startswith("."))
    except FileNotFoundError:
        return
    for name in names:
        try:
            with open(f"{state_dir}/{name}/{FILE}", encoding="utf-8") as opened:
                yield name, json.load(opened)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue  # never started, or written when the disk was full: the agent sees it as created


def running(pid: int) -> Record:
    return {"status": "running", "pid": pid, "ticks": processes.start_ticks(pid), "boot": processes.boot_id()}


def alive(record: Record) -> bool:
    """Is the process that the record means still there?"""
    pid = int(record.get("pid") or 0)
    if pid <= 0 or record.get("boot") != processes.boot_id():
        return False
    return processes.start_ticks(pid) == record.get("ticks")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
