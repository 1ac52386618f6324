"""What the kernel killed because the whole machine was out of memory, told of the node as upstream's kubelet does.

- The kernel's log says it in one record. Others may write into that log too: only the kernel's own records count.
- A kill within the limit of one cgroup is not of the machine: the container's status tells of that.
- Told is what happens while the agent runs. Where it may not read the log (rootless), or something else is in its
  place (a container's /dev/null), it says so once, and that is all.
"""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RECORD_BYTES_MAX = 16 << 10  # the kernel's own are half of that at the most
RECORDS_AT_ONCE_MAX = 100
KERNEL = 0  # the facility; the kernel gives another one to what is written by others
VICTIM = re.compile(
    r"oom-kill:constraint=CONSTRAINT_(?:NONE|CPUSET|MEMORY_POLICY),.*,global_oom,.*,task=(?P<name>.*),pid=(?P<pid>\d+),uid=\d+"
)

log = logging.getLogger(__name__)


def victim(record: str) -> tuple[str, int] | None:
    """Name and id of the process, where the record tells of one."""
    about, _, text = record.partition("\n")[0].partition(";")
    priority = about.partition(",")[0]
    found = VICTIM.fullmatch(text)
    if found is None or not priority.isdecimal() or int(priority) >> 3 != KERNEL:
        return None
    return found["name"], int(found["pid"])


async def tell_of_kills(path: str, tell_of_node: Callable[[str, str, str], None]) -> None:
    """Until cancelled, or the log turns out to be none that can be followed."""

    def tell(record: str) -> None:
        found = victim(record)
        if found is not None:
            text = "System OOM encountered, victim process: {}, pid: {}".format(*found)
            tell_of_node("Warning", "SystemOOM", text)

    try:
        with opened(path) as kernel_log:
            await follow(kernel_log, tell)
    except OSError as error:
        log.info("what the kernel kills is not told: %s", error)


@contextmanager
def opened(path: str) -> Iterator[int]:
    """At its end."""
    kernel_log = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(kernel_log, 0, os.SEEK_END)
        yield kernel_log
    finally:
        os.close(kernel_log)


async def follow(kernel_log: int, tell: Callable[[str], None]) -> None:
    """Each record, as it comes; until cancelled, or there can be no more."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look() -> None:
        for _ in range(RECORDS_AT_ONCE_MAX):
            try:
                record = os.read(kernel_log, RECORD_BYTES_MAX)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # some were overwritten before they were read
            except OSError as error:
                log.warning("the kernel's log can no longer be read: %s", error)
                record = b""
            if not record:
                over.set()
                return
            tell(record.decode(errors="replace"))

    loop.add_reader(kernel_log, look)
    try:
        await over.wait()
    finally:
        loop.remove_reader(kernel_log)
