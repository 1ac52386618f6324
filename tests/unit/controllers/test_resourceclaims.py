"""When a claim's devices are free again, and when it may go. Method: one pass, by hand."""

from typing import Any, cast

import pytest

from kybern.aio.ids import Ids
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod, PodResourceClaimStatus
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.resource_v1 import ResourceClaim
from kybern.client import Client, View
from kybern.controllers.resourceclaims import free, is_missing
from kybern.reconcile import Context, controller_ref
from kybern.reconcile.resource_claims import FINALIZER

ALLOCATED = {"allocation": {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}}}
GONE = {"reservedFor": [{"resource": "pods", "name": "gone", "uid": "gone"}]}


class Nothing:
    def get(self, of: type[Any], name: str, namespace: str = "") -> None:
        return None


class Server:
    def __init__(self) -> None:
        self.written: list[ResourceClaim] = []

    async def get(self, of: type[Any], name: str, namespace: str = "") -> Any:
        raise NotFound("no such pod")

    async def update(self, claim: ResourceClaim) -> ResourceClaim:
        self.written.append(claim)
        return claim

    update_status = update


@pytest.mark.parametrize(
    ("status", "meta", "released"),
    [
        ({}, {}, False),  # the scheduler has protected it and is about to give it devices
        (ALLOCATED, {}, False),
        (ALLOCATED | GONE, {}, True),
        (ALLOCATED, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
    ],
)
async def test_a_claim_is_released_when_its_last_user_is_gone_or_it_is_deleted(
    status: dict[str, Any], meta: dict[str, Any], released: bool
) -> None:
    about = {"name": "c", "namespace": "a", "uid": "c", "finalizers": [FINALIZER], **meta}
    claim, server = from_builtins(ResourceClaim, {"metadata": about, "status": status}), Server()
    context = Context(0.0, Ids(), cast(Any, None))
    await free(claim, cast(View, Nothing()), cast(Client, server), context)
    assert bool(server.written) == released
    if released:
        last = server.written[-1]
        assert not last.metadata.finalizers and last.status.allocation is None and not last.status.reserved_for


async def test_a_claim_that_somebody_made_under_the_name_of_a_pods_own_is_not_the_pods() -> None:
    pod = Pod(metadata=ObjectMeta(name="train", namespace="default", uid="p"))
    told = PodResourceClaimStatus(name="card", resource_claim_name="train-card-x")
    own = ResourceClaim(metadata=ObjectMeta(name="train-card-x", owner_references=(controller_ref(pod),)))
    foreign = ResourceClaim(metadata=ObjectMeta(name="train-card-x"))

    class Known:
        def __init__(self, claim: ResourceClaim) -> None:
            self.claim = claim

        def get(self, of: type, name: str, namespace: str) -> ResourceClaim:
            return self.claim

    client: Any = None
    assert not await is_missing(told, pod, cast(Any, Known(own)), client)
    assert await is_missing(told, pod, cast(Any, Known(foreign)), client)
