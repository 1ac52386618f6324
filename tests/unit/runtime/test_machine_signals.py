"""The signal that an image or a container wants to be stopped with."""

import signal

import pytest

from kybern.runtime.machine import signal_number


@pytest.mark.parametrize(
    ("name", "number"),
    [("SIGQUIT", 3), ("QUIT", 3), ("15", 15), ("SIGRTMIN+3", signal.SIGRTMIN + 3), ("RTMIN+3", signal.SIGRTMIN + 3)],
)
def test_signals_are_known_by_name_and_number(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["NOSUCH", "²", "9999999", "0", "SIGRTMIN+999", "_DFL", "SIGSIGTERM", "", "-9"])
def test_what_is_no_signal_is_term(name: str) -> None:
    assert signal_number(name) == signal.SIGTERM
