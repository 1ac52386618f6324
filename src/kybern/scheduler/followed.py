"""What plugins look up besides nodes and pods: the View, with a bound on waiting."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim
from kybern.api.resource_v1 import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from kybern.api.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kybern.client import View

T = TypeVar("T")

DEVICES = (ResourceClaim, ResourceSlice, DeviceClass, DeviceTaintRule)
VOLUMES = (
    PersistentVolumeClaim, PersistentVolume, StorageClass, CSINode, CSIDriver, CSIStorageCapacity, VolumeAttachment,
)  # fmt: skip


class Followed:
    def __init__(self, view: View, clock: Clock) -> None:
        self.view, self.clock = view, clock

    def get(self, of: type[T], name: str, namespace: str = "") -> T | None:
        return self.view.get(of, name, namespace)

    def list(self, of: type[T], namespace: str | None = None) -> Sequence[T]:
        return self.view.list(of, namespace)

    def owned_by(self, owner: Any, of: type[T]) -> Sequence[T]:
        return self.view.owned_by(owner, of)

    async def wait_for(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to hold in time."""
        try:
            async with timeout(seconds):
                await self.view.wait_until(holds)
        except TimeoutError:
            return False
        return True
