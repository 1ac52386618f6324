"""The machine's own kernel log, followed: what is written from now on comes, one record at a time, and with who wrote it."""

import asyncio
import os

import pytest

from kybern.kubelet.system_oom import follow, opened

pytestmark = pytest.mark.linux
LOG = "/dev/kmsg"
MARK = f"kybern's test {os.getpid()}"


@pytest.mark.skipif(not os.access(LOG, os.R_OK | os.W_OK), reason="this machine does not show its kernel's log")
async def test_the_kernels_log_is_followed_from_now_on_and_tells_who_wrote() -> None:
    def say(text: str) -> None:
        with open(LOG, "w") as log:
            log.write(f"<4>{MARK}: {text}\n")

    said: list[str] = []
    two = asyncio.Event()

    def tell(record: str) -> None:
        if MARK in record:
            said.append(record)
        if len(said) == 2:
            two.set()

    say("before")
    with opened(LOG) as kernel_log:
        following = asyncio.create_task(follow(kernel_log, tell))
        try:
            say("first")
            await asyncio.sleep(0)
            say("second")
            async with asyncio.timeout(10):
                await two.wait()
        finally:
            following.cancel()
            await asyncio.wait([following])
    assert [record.partition(";")[2].strip() for record in said] == [f"{MARK}: first", f"{MARK}: second"]
    assert all(int(record.partition(",")[0]) >> 3 != 0 for record in said), "the kernel does not pass it as its own"
