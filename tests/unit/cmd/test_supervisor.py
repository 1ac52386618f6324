"""The supervisor's children, from the first moment on."""

import signal
import time
from pathlib import Path
from types import ModuleType

import pytest

from kybern.cmd.supervisor import Program, Supervisor, stop_process


def test_a_program_that_is_told_to_end_before_it_has_begun_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    become = Supervisor._become

    def slowly(self: Supervisor, program: Program, module: ModuleType) -> None:
        time.sleep(0.1)
        become(self, program, module)

    monkeypatch.setattr(Supervisor, "_become", slowly)
    program = Program("sleeper", "time", lambda module: module.sleep(60))
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        Supervisor([program], tmp_path / "socket", tmp_path).start(program)
        stop_process(program.pid, 2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "is killed" not in caplog.text
