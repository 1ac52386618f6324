"""The process of controllers and scheduler."""

from typing import Any

import pytest

from kybern.client.leases import LostLease
from kybern.cmd import control


def test_a_lost_lease_is_one_line_and_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(cluster: Any) -> None:
        raise ExceptionGroup("of tasks", [LostLease("lost the lease kube-system/kube-scheduler")])

    monkeypatch.setattr(control, "run", run)
    with pytest.raises(SystemExit, match="1"):
        control.main(None)  # type: ignore[arg-type]
    assert capsys.readouterr().err == "lost the lease kube-system/kube-scheduler\n"


def test_another_fault_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(cluster: Any) -> None:
        raise ExceptionGroup("of tasks", [ValueError("x")])

    monkeypatch.setattr(control, "run", run)
    with pytest.raises(ExceptionGroup):
        control.main(None)  # type: ignore[arg-type]
