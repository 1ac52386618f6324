"""Leases: one leader among many processes, and a node's sign of life.

A lease is held for `duration_seconds` after its last renewal. Whoever watches it goes by its own clock: a lease is
over when it has not *changed* for that long, so clocks of different machines need not agree.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.aio.clock import Clock, rfc3339_micro, until_tick
from kybern.aio.timeouts import timeout
from kybern.api.coordination_v1 import Lease, LeaseSpec
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.client.client import Client

NODE_LEASES = "kube-node-lease"
NODE_LEASE_SECONDS = 40
NODE_RENEW_SECONDS = 10.0
NODE_RETRY_SECONDS = 0.2
RETRY_MAX_SECONDS = 7.0
UNREACHED_SECONDS = 0.2  # until a server that did not answer yet is asked again


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a leader is believed, how long it keeps trying, how often anybody tries. Upstream's defaults."""

    duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0


class LostLease(Exception):
    """Somebody else may lead now: whatever leading meant has to stop."""


class LeaderElection:
    def __init__(
        self, client: Client, name: str, namespace: str, identity: str, clock: Clock, terms: Terms | None = None
    ) -> None:
        self.client, self.name, self.namespace, self.identity, self.clock = client, name, namespace, identity, clock
        self.terms = terms or Terms()
        self.observed: Lease | None = None
        self.observed_at = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, lead until `lead` returns or the lease is lost (LostLease), then let go of it."""
        while not await self.try_to_hold():
            await self.clock.sleep(UNREACHED_SECONDS if self.observed is None else self.terms.retry_seconds)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep())
                await lead()
                keeping.cancel()
        except ExceptionGroup as failures:
            # Not `except*`: what is raised there comes out in a group again, or not, by the Python that runs.
            if failures.subgroup(LostLease) is None:
                raise
            raise LostLease(f"lost the lease {self.namespace}/{self.name}") from failures
        finally:
            await self.release()

    async def try_to_hold(self) -> bool:
        """Take the lease, or renew it. False when somebody else holds it, or the server cannot be asked."""
        try:
            return await self._hold()
        except ApiError:
            return False

    async def _hold(self) -> bool:
        if self.observed is not None and self.observed.spec.holder_identity == self.identity:
            try:
                self._observe(await self.client.update(replace(self.observed, spec=self._spec(self.observed.spec))))
                return True
            except (Conflict, NotFound):
                pass  # somebody else has written or deleted it: look
        try:
            lease = await self.client.get(Lease, self.name, self.namespace)
        except NotFound:
            meta = ObjectMeta(name=self.name, namespace=self.namespace)
            self._observe(await self.client.create(Lease(metadata=meta, spec=self._spec(None))))
            return True
        self._observe(lease)
        if held_by_another(lease.spec, self.identity) and not self._is_over(lease.spec):
            return False
        self._observe(await self.client.update(replace(lease, spec=self._spec(lease.spec))))
        return True

    async def _keep(self) -> None:
        """Renew until that fails for too long, be it that the server does not answer."""
        try:
            while True:
                async with timeout(self.terms.renew_deadline_seconds):
                    await self.clock.sleep(until_tick(self.clock.monotonic(), self.terms.retry_seconds))
                    while not await self.try_to_hold():
                        await self.clock.sleep(self.terms.retry_seconds)
        except TimeoutError:
            raise LostLease from None

    async def release(self) -> None:
        """Give it up, so that the next one need not wait for its end."""
        if self.observed is None or self.observed.spec.holder_identity != self.identity:
            return
        freed = replace(self.observed.spec, holder_identity="", lease_duration_seconds=1)
        try:
            await self.client.update(replace(self.observed, spec=freed))
        except ApiError:
            pass  # It ends by itself.

    def _observe(self, lease: Lease) -> None:
        if self.observed is None or self.observed.spec != lease.spec:
            self.observed_at = self.clock.monotonic()
        self.observed = lease

    def _is_over(self, spec: LeaseSpec) -> bool:
        return self.clock.monotonic() - self.observed_at > (spec.lease_duration_seconds or 0)

    def _spec(self, before: LeaseSpec | None) -> LeaseSpec:
        now = rfc3339_micro(self.clock.wall())
        mine = before is not None and before.holder_identity == self.identity
        transitions = (before.lease_transitions or 0) if before is not None else 0
        return LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=int(self.terms.duration_seconds),
            acquire_time=before.acquire_time if before is not None and mine else now,
            renew_time=now,
            lease_transitions=transitions + (before is not None and not mine),
        )


def held_by_another(spec: LeaseSpec, identity: str) -> bool:
    return bool(spec.holder_identity) and spec.holder_identity != identity


async def keep_node_lease(client: Client, node_name: str, node_uid: Callable[[], str], clock: Clock) -> None:
    """Renew the lease of a node until cancelled. `node_uid` is asked each time: the Node may come later, and change."""
    lease: Lease | None = None
    retry = NODE_RETRY_SECONDS
    while True:
        try:
            lease = await renew_node_lease(client, node_name, node_uid(), clock, lease)
            retry = NODE_RETRY_SECONDS
            await clock.sleep(NODE_RENEW_SECONDS)
        except ApiError:
            lease = None
            await clock.sleep(retry)
            retry = min(retry * 2, RETRY_MAX_SECONDS)


async def renew_node_lease(client: Client, node_name: str, node_uid: str, clock: Clock, lease: Lease | None) -> Lease:
    """One renewal; `lease` is the last one written, when it is known."""
    owner = OwnerReference(api_version="v1", kind="Node", name=node_name, uid=node_uid)
    spec = LeaseSpec(
        holder_identity=node_name,
        lease_duration_seconds=NODE_LEASE_SECONDS,
        renew_time=rfc3339_micro(clock.wall()),
    )
    try:
        known = lease if lease is not None else await client.get(Lease, node_name, NODE_LEASES)
    except NotFound:
        meta = ObjectMeta(name=node_name, namespace=NODE_LEASES, owner_references=(owner,) if node_uid else None)
        return await client.create(Lease(metadata=meta, spec=spec))
    meta = replace(known.metadata, owner_references=(owner,)) if node_uid else known.metadata
    return await client.update(replace(known, metadata=meta, spec=spec))
