"""An autoscaler that took the last pod knows that it did, also where its status could not be written just then."""

from typing import Any

import pytest

from kybern.api.apps_v1 import Deployment
from kybern.api.autoscaling_v2 import HorizontalPodAutoscaler
from kybern.api.errors import Conflict
from kybern.client import Client
from kybern.testing import virtual
from kybern.testing.cluster import running
from kybern.testing.objects import made

QUEUE = (
    '[{"type":"External","external":{"metric":{"name":"queue"},"target":{"type":"AverageValue","averageValue":"3"}}}]'
)
SCALED = {
    "spec.minReplicas": "0",
    "spec.maxReplicas": "4",
    "spec.behavior": '{"scaleDown":{"stabilizationWindowSeconds":0}}',
    "spec.metrics": QUEUE,
}


def test_a_status_that_was_refused_does_not_leave_the_target_without_pods_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = []
    update_status = Client.update_status

    async def refusing(client: Client, obj: Any) -> Any:
        if isinstance(obj, HorizontalPodAutoscaler) and obj.status.desired_replicas == 0 and not refused:
            refused.append(obj)
            raise Conflict("somebody has changed the autoscaler")
        return await update_status(client, obj)

    async def replicas(client: Client) -> int | None:
        return (await client.get(Deployment, "web", "default")).spec.replicas

    async def main() -> None:
        async with running() as cluster:
            await cluster.client.create(made("deployment", "web", {"replicas": "2"}))
            cluster.measured.outside["queue"] = "6"
            await cluster.client.create(made("horizontalpodautoscaler", "web", SCALED))
            await cluster.advance(30)
            cluster.measured.outside["queue"] = "0"
            monkeypatch.setattr(Client, "update_status", refusing)
            await cluster.advance(60)
            assert await replicas(cluster.client) == 0 and refused
            scaler = await cluster.client.get(HorizontalPodAutoscaler, "web", "default")
            told = {found.type: found.status for found in scaler.status.conditions or ()}
            assert told["ScaledToZero"] == "True"
            cluster.measured.outside["queue"] = "9"
            await cluster.advance(30)
            assert await replicas(cluster.client) == 3

    virtual.run(main())
