"""What VolumeAttachments and CSINodes say of each node: what is attached there, and how much can be. Kept up with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.api.core_v1 import PersistentVolume
from kybern.api.storage_v1 import CSINode, VolumeAttachment
from kybern.scheduler.claims import Lookup

Attached = tuple[str, str]
"""Driver, and the volume's handle there (or the claim, as long as it has none)."""

NO_LIMITS: Mapping[str, int] = {}


@dataclass(slots=True)
class Attachments:
    on_node: dict[str, dict[str, VolumeAttachment]] = field(default_factory=dict)
    """By name."""
    limits: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Of nodes that have any, by driver."""

    def changed(self, old: Any, new: Any) -> None:
        """Of any kind; others say nothing about it."""
        match old:
            case VolumeAttachment():
                here = self.on_node.get(old.spec.node_name, {})
                here.pop(old.metadata.name or "", None)
                if not here:
                    self.on_node.pop(old.spec.node_name, None)
            case CSINode():
                self.limits.pop(old.metadata.name or "", None)
        match new:
            case VolumeAttachment():
                self.on_node.setdefault(new.spec.node_name, {})[new.metadata.name or ""] = new
            case CSINode() if found := limits_of(new):
                self.limits[new.metadata.name or ""] = found

    def count(self, node: str) -> int:
        return len(self.on_node.get(node, ()))

    def volumes(self, node: str, view: Lookup) -> Iterator[Attached]:
        for attachment in self.on_node.get(node, {}).values():
            source = attachment.spec.source.persistent_volume_name
            volume = view.get(PersistentVolume, source) if source else None
            if volume is not None and volume.spec.csi is not None:
                yield attachment.spec.attacher, volume.spec.csi.volume_handle


def limits_of(node: CSINode) -> dict[str, int]:
    return {
        driver.name: driver.allocatable.count
        for driver in node.spec.drivers
        if driver.allocatable is not None and driver.allocatable.count is not None
    }
