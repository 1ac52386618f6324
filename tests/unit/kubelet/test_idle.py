"""A node full of pods at which nothing happens is hardly ever woken: each time costs a machine more than what is looked at then."""

import asyncio
import selectors
from pathlib import Path
from typing import Any

import pytest

PODS = 105
HOUR = 3600.0


def test_an_agent_with_as_many_pods_as_a_node_may_have_is_woken_less_than_every_other_second(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        names = [f"idle-{number}" for number in range(PODS)]
        files = {"data_directory": str(tmp_path), "logs_directory": str(tmp_path)}
        async with lab.cluster(simulated=False, **files) as cluster:
            monkeypatch.setattr(cluster.kubelet.parts.volumes, "is_refreshed", lambda pod: True)
            for name in names:
                cluster.api.bind(lab.pod(name))
            await cluster.until(lambda: all(cluster.api.pod(name).status.phase == "Running" for name in names))
            await asyncio.sleep(60)
            waits = count_waits(monkeypatch)
            await asyncio.sleep(HOUR)
            assert len(waits) < HOUR / 2

    lab.simulate(scenario)


def count_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    select = type(asyncio.get_running_loop()._selector).select  # type: ignore[attr-defined]

    def counted(self: selectors.BaseSelector, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            waits.append(timeout or 0.0)
        return select(self, timeout)

    monkeypatch.setattr(type(asyncio.get_running_loop()._selector), "select", counted)  # type: ignore[attr-defined]
    return waits
