"""Which records of the kernel's log tell of a machine without memory, and that the node tells of them."""

import asyncio
import logging
import os

import pytest

from kybern.kubelet.system_oom import follow, tell_of_kills, victim

NOWHERE_LEFT = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/kybern/pods/x,task={},pid={},uid=0"
LIMITED = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/x,task_memcg=/x,task={},pid=7,uid=0"


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (f"6,100,5000,-;{NOWHERE_LEFT.format('python3', 4711)}\n SUBSYSTEM=x\n", ("python3", 4711)),
        (f"6,100,5000,-;{NOWHERE_LEFT.format('a,pid=1,uid=0', 4711)}\n", ("a,pid=1,uid=0", 4711)),
        (f"6,100,5000,-;{LIMITED.format('python3')}\n", None),
        (f"6,100,5000,-;{LIMITED.format(',global_oom,')}\n", None),
        (f"14,100,5000,-;{NOWHERE_LEFT.format('forged', 1)}\n", None),
        ("6,100,5000,-;veth1: entered promiscuous mode\n", None),
        (NOWHERE_LEFT.format("python3", 1), None),
        ("", None),
    ],
    ids=[
        "killed",
        "odd name",
        "limit of one cgroup",
        "name like a kill",
        "written by somebody",
        "other news",
        "bare",
        "empty",
    ],
)
def test_only_the_kernel_tells_and_only_of_the_whole_machine(record: str, found: tuple[str, int] | None) -> None:
    assert victim(record) == found


async def test_records_are_followed_one_by_one_until_there_are_no_more() -> None:
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)  # as the log: each read takes one record
    told: list[str] = []
    try:
        following = asyncio.create_task(follow(reading, told.append))
        for number in range(250):
            os.write(writing, f"6,{number},0,-;record {number}\n".encode())
            await asyncio.sleep(0)
        os.close(writing)
        await following
        assert told == [f"6,{number},0,-;record {number}\n" for number in range(250)]
    finally:
        os.close(reading)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/ptmx", __file__, "/nonexistent"])
async def test_where_the_log_is_none_that_can_be_followed_nothing_is_told_and_nothing_stays_open(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A container may have anything in its place."""
    before = os.listdir("/proc/self/fd")
    with caplog.at_level(logging.INFO):
        await tell_of_kills(path, lambda *told: pytest.fail(str(told)))
    assert [record.message.partition(":")[0] for record in caplog.records] == ["what the kernel kills is not told"]
    assert os.listdir("/proc/self/fd") == before
