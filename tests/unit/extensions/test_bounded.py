"""A rule that does not return ends with its request, not with the server."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kybern.extensions import bounded
from kybern.extensions.bounded import Overdue, at_most
from kybern.extensions.files import Broken, load


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS_MAX", 0.05)
    monkeypatch.setattr("kybern.extensions.files.LOAD_SECONDS_MAX", 0.05)


def busy() -> None:
    while True:
        pass


def stubborn() -> None:
    while True:
        try:
            time.sleep(3600)
        except Exception:  # noqa: BLE001 - what such a rule does
            pass


def asleep() -> None:
    time.sleep(3600)


@pytest.mark.parametrize("rule", [busy, stubborn, asleep])
def test_a_rule_that_does_not_return_is_interrupted_and_not_asked_again(rule: Any) -> None:
    called: list[int] = []

    def counted() -> None:
        called.append(1)
        rule()

    with pytest.raises(Overdue, match=r"^it took longer than 0\.05 s$"):
        bounded.bounded(counted)
    with pytest.raises(Overdue, match="not asked again until its file changes"):
        bounded.bounded(counted)
    assert called == [1]


def test_one_that_returns_or_raises_does_what_it_does() -> None:
    assert bounded.bounded(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(KeyError):
        bounded.bounded({}.__getitem__, "a")


def test_nothing_is_left_that_could_interrupt_somebody_else() -> None:
    before = signal.getsignal(signal.SIGALRM)
    for rule in (busy, lambda: None):
        with pytest.raises(Overdue) if rule is busy else at_most(1):
            bounded.bounded(rule)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_in_another_thread_a_call_is_just_a_call() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(bounded.bounded(lambda: 7)))
    thread.start()
    thread.join()
    assert found == [7]


def test_a_file_that_never_ends_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text("while True:\n    pass\n")
    with pytest.raises(Broken, match="Interrupted"):
        load(path)
