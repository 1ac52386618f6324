"""Work beside the loop: whose turn it is, and what turns out to take long."""

import threading
from collections.abc import Callable

import pytest

from kybern.aio.beside import TakesLong, Turns, asked_by, beside, others_wait, soon


def test_who_has_had_the_least_comes_next() -> None:
    now = [0.0]
    turns = Turns(lambda: now[0], threads=1)
    begun, go = threading.Event(), threading.Event()
    order: list[str] = []

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            now[0] += seconds

        return run

    first = turns.put("one", lambda: (begun.set(), go.wait(10)))
    begun.wait(10)
    waiting = [turns.put("one", work("one", 1.0)) for _ in range(3)]
    waiting += [turns.put("other", work("other", 0.4)) for _ in range(4)]
    go.set()
    for done in (first, *waiting):
        done.result(10)
    assert order == ["one", "other", "other", "other", "one", "other", "one"]


def test_who_sends_long_work_over_and_over_does_not_keep_others_from_theirs() -> None:
    turns = Turns()
    go = threading.Event()
    long = [turns.put("one", lambda: go.wait(10)) for _ in range(5)]
    assert [turns.put("other", lambda: "done").result(10) for _ in range(3)] == ["done"] * 3
    assert not any(done.done() for done in long)
    go.set()
    assert [done.result(10) for done in long] == [True] * 5


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    turns = Turns()
    begun, go = threading.Event(), threading.Event()
    first = turns.put("one", lambda: (begun.set(), go.wait(10)))
    begun.wait(10)
    gone, last = turns.put("one", lambda: pytest.fail("nobody waits for it")), turns.put("one", lambda: "done")
    assert gone.cancel()
    go.set()
    assert (first.result(10)[1], last.result(10)) == (True, "done")


async def test_what_turns_out_to_take_long_is_begun_anew_beside_the_loop() -> None:
    def work() -> int:
        if others_wait():
            raise TakesLong
        return threading.get_ident()

    assert await soon(work) != threading.get_ident()
    assert await soon(threading.get_ident) == threading.get_ident()
    assert await beside(threading.get_ident, False) == threading.get_ident()
    with asked_by("somebody"):
        assert not await beside(others_wait)


async def test_what_goes_wrong_beside_the_loop_goes_wrong_for_who_waits() -> None:
    with pytest.raises(ZeroDivisionError):
        await beside(lambda: 1 // 0)
