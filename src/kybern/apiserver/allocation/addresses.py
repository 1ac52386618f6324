"""IPAddress: every Service's address is an object too, so that whoever else hands out addresses sees that it is taken
(KEP-1880).

- It is made before its Service is stored; a Service that is refused, changed or deleted gives it back.
- `run()` keeps the two equal: it makes what is missing and deletes what belongs to no Service any more, first for
  everything there is, then for what changes. Objects that others have made are theirs.
"""

import asyncio
import logging
from collections.abc import Callable

from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.networking_v1 import IPAddress, IPAddressSpec, ParentReference
from kybern.apiserver.allocation.families import family_of
from kybern.apiserver.allocation.pool import Owner
from kybern.apiserver.request import Objects

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"

UNDER_WAY = ("", "")
"""The owner of what a write has set aside: it settles that itself."""

log = logging.getLogger(__name__)


class AddressObjects:
    def __init__(self, objects: Objects, owner_of: Callable[[str], Owner | None]) -> None:
        """`owner_of` names the Service that has an address, or UNDER_WAY."""
        self.objects, self.owner_of = objects, owner_of
        self.doubtful: dict[str, None] = {}
        self.woken = asyncio.Event()
        objects.on_change(IPAddress, lambda old, new: self.doubt((new or old).metadata.name or ""))

    def doubt(self, address: str) -> None:
        """Somebody has to look whether the object is there and should be."""
        self.doubtful[address] = None
        self.woken.set()

    def is_taken(self, address: str, owner: Owner) -> bool:
        """Whether somebody has it who is no Service. One of ours that is left over is nobody's."""
        found = self.objects.get(IPAddress, address)
        return found is not None and not is_ours(found) and not refers_to(found, owner)

    async def claim(self, address: str, owner: Owner) -> bool:
        """False where the address is somebody else's."""
        while True:
            found = self.objects.get(IPAddress, address)
            if found is not None and refers_to(found, owner):
                return True
            if self.is_taken(address, owner):
                return False
            if found is not None:
                await self.remove(found)
            try:
                await self.objects.create(address_object(address, owner))
            except AlreadyExists:
                continue

    async def remove(self, found: IPAddress) -> None:
        try:
            await self.objects.delete(IPAddress, found.metadata.name or "", uid=found.metadata.uid or "")
        except NotFound:
            pass

    async def run(self) -> None:
        """Until cancelled."""
        for found in self.objects.list(IPAddress):
            self.doubt(found.metadata.name or "")
        while True:
            await self.woken.wait()
            self.woken.clear()
            for address in list(self.doubtful):
                del self.doubtful[address]
                try:
                    await self.settle(address)
                except ApiError as error:
                    log.info("address %s: %s", address, error.message)

    async def settle(self, address: str) -> None:
        owner, found = self.owner_of(address), self.objects.get(IPAddress, address)
        if owner == UNDER_WAY:
            return
        if found is not None and (is_ours(found) if owner is None else not refers_to(found, owner)):
            await self.remove(found)
        if owner is not None:
            await self.claim(address, owner)


def address_object(address: str, owner: Owner) -> IPAddress:
    namespace, name = owner
    return IPAddress(
        metadata=ObjectMeta(name=address, labels={FAMILY: family_of(address), MANAGED_BY: MANAGER}),
        spec=IPAddressSpec(parent_ref=ParentReference(resource="services", namespace=namespace, name=name)),
    )


def refers_to(found: IPAddress, owner: Owner) -> bool:
    ref = found.spec.parent_ref
    return not ref.group and ref.resource == "services" and (ref.namespace, ref.name) == owner


def is_ours(found: IPAddress) -> bool:
    return (found.metadata.labels or {}).get(MANAGED_BY) == MANAGER
