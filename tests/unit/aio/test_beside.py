"""Work beside the loop: whose turn it is, and what turns out to take long."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable

import pytest

from kybern.aio.beside import TakesLong, Turns, Uncollected, asked_by, beside, others_wait, soon


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
    assert turns.put("other", lambda: "done").result(10) == "done"
    go.set()
    assert (first.result(10)[1], last.result(10)) == (True, "done")


def test_who_goes_away_leaves_nothing_behind() -> None:
    class Body:
        """Of megabytes."""

    turns = Turns()
    go = threading.Event()
    first = turns.put("one", lambda: go.wait(10))
    body = Body()
    held, seen = weakref.ref(body), turns.put("one", lambda body=body: body)  # type: ignore[misc]
    del body
    assert held() is not None and seen.cancel()
    assert held() is None
    go.set()
    assert first.result(10)


def test_whatever_goes_wrong_the_next_one_has_its_turn() -> None:
    turns = Turns(threads=1)
    with pytest.raises(SystemExit):
        turns.put("one", sys.exit).result(10)
    assert turns.put("one", lambda: "done").result(10) == "done"


def test_the_collector_is_off_until_the_first_leaves() -> None:
    off = Uncollected()
    with off:
        assert not gc.isenabled()
        with off:
            assert not gc.isenabled()
        assert gc.isenabled(), "threads that take turns would keep it off for good"
    assert gc.isenabled()


def test_the_collector_is_on_again_where_one_leaves_while_another_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    off, disable = Uncollected(), gc.disable
    off.__enter__()
    leaving = threading.Thread(target=off.__exit__)

    def meanwhile() -> None:
        leaving.start()
        leaving.join(0.1)
        disable()

    monkeypatch.setattr(gc, "disable", meanwhile)
    with off:
        leaving.join()
    assert gc.isenabled()


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
