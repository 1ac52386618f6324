import asyncio

from kybern.reconcile.metrics import QueueMetrics
from kybern.reconcile.queue import Queue
from kybern.testing import virtual
from kybern.web.http import Request


def test_a_key_that_waits_is_not_queued_twice() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 1

    virtual.run(main())


def test_a_key_in_work_is_given_out_again_only_when_it_is_done() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue()
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"

    virtual.run(main())


def test_a_key_that_fails_waits_longer_each_time_until_it_is_forgotten() -> None:
    async def main() -> None:
        loop, queue = asyncio.get_running_loop(), Queue[str]()
        waits = []
        for fail in (True, True, True, False, True):
            start = loop.time()
            if not fail:
                queue.forget("a")
                continue
            queue.retry("a")
            queue.done(await queue.get())
            waits.append(round(loop.time() - start, 6))
        assert waits == [0.005, 0.01, 0.02, 0.005]

    virtual.run(main())


def test_the_earliest_of_several_wishes_counts() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue()
        queue.add_after("a", 5)
        queue.add_after("a", 2)
        queue.add_after("a", 9)
        await queue.get()
        assert round(asyncio.get_running_loop().time(), 3) == 2

    virtual.run(main())


def test_a_cancelled_taker_does_not_swallow_a_key() -> None:
    async def main() -> None:
        queue: Queue[str] = Queue()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(queue.get())
            second = tasks.create_task(queue.get())
            await asyncio.sleep(0)
            queue.add("a")
            first.cancel()
            assert await second == "a"

    virtual.run(main())


def test_what_a_queue_does_is_told_under_upstreams_names() -> None:
    async def main() -> str:
        queue: Queue[str] = Queue()
        metrics = QueueMetrics()
        metrics.queues["web"] = queue
        queue.add("a")
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(2)
        assert await queue.get() == "a"
        await asyncio.sleep(3)
        queue.done("a")
        queue.retry("a")
        assert await queue.get() == "b"
        answer = await metrics.answer(Request("GET", "/metrics"))
        return (await answer.read()).decode()

    text = virtual.run(main())
    for line in (
        'workqueue_adds_total{name="web"} 2.0',
        'workqueue_retries_total{name="web"} 1.0',
        'workqueue_depth{name="web"} 0.0',
        'workqueue_queue_duration_seconds_sum{name="web"} 7.0',
        'workqueue_queue_duration_seconds_bucket{le="10.0",name="web"} 2.0',
        'workqueue_work_duration_seconds_sum{name="web"} 3.0',
    ):
        assert line in text
