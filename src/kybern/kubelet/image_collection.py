"""Giving back the disk that unused images take, once it becomes scarce: whose last use is longest ago goes first.

An image that has just come is nobody's yet, but somebody's soon: it stays for a while. Pinned images stay.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kybern.kubelet.parts import Parts
from kybern.runtime.cri import Image, RuntimeFault

PERIOD_SECONDS = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    first: float
    used: float = 0.0


class ImageCollection:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.seen: dict[str, Seen] = {}
        """By image id, on the monotonic clock; forgotten with the process, and then nothing is old."""

    async def run(self) -> None:
        """Now and then, until cancelled. Once is no event: a machine that has just started may not know its disk yet."""
        failures = 0
        while self.parts.node.on_disk:
            await self.parts.clock.sleep(PERIOD_SECONDS)
            try:
                await self.look()
                await self._collect()
                failures = 0
            except (RuntimeFault, OSError) as error:
                failures += 1
                log.warning("images could not be collected: %s", error)
                if failures > 1:
                    self.parts.tell_of_node("Warning", "ImageGCFailed", str(error))

    async def _collect(self) -> None:
        config = self.parts.config
        if config.image_age_seconds_max:
            await self._remove(float("inf"), max(config.image_age_seconds_max, config.image_age_seconds_min))
        total, free = disk_space(config.data_directory)
        if not total:
            text = "invalid capacity 0 on image filesystem"
            self.parts.tell_of_node("Warning", "InvalidDiskCapacity", text)
            raise OSError(text)
        excess = to_free(total, free, config.image_disk_high_percent, config.image_disk_low_percent)
        if not excess:
            return
        freed = await self._remove(excess, config.image_age_seconds_min)
        if freed < excess:
            text = f"Failed to garbage collect required amount of images. Attempted to free {excess} bytes, but only found {freed} bytes eligible to free."
            self.parts.tell_of_node("Warning", "FreeDiskSpaceFailed", text)

    async def remove_unused(self) -> None:
        """Whatever their age: the node runs out of disk."""
        await self._remove(float("inf"), 0.0)

    async def look(self) -> Sequence[Image]:
        """The unused images; what is used is noted."""
        records = self.parts.images.records
        recorded = records.names()
        images = await self.parts.runtime.list_images()
        records.forget(recorded, (image.id for image in images))
        used = {status.image_id for observed in self.parts.pleg.every().values() for status in observed.containers}
        self.seen = seen_now(self.seen, images, used, self.parts.clock.monotonic())
        return [image for image in images if image.id not in used]

    async def _remove(self, excess: float, age_seconds: float) -> float:
        freed = 0
        for image in removable(await self.look(), self.seen, self.parts.clock.monotonic() - age_seconds):
            if freed >= excess:
                break
            await self.parts.runtime.remove_image(image.id)
            freed += image.size_bytes
        return freed


def seen_now(before: Mapping[str, Seen], images: Sequence[Image], used: set[str], now: float) -> dict[str, Seen]:
    found = {}
    for image in images:
        known = before.get(image.id, Seen(now))
        found[image.id] = Seen(known.first, now) if image.id in used else known
    return found


def removable(unused: Sequence[Image], seen: Mapping[str, Seen], before: float) -> list[Image]:
    """Those that came and were used before then, in the order in which they go."""
    free = [image for image in unused if not image.pinned and max(seen[image.id].first, seen[image.id].used) <= before]
    return sorted(free, key=lambda image: (seen[image.id].used, seen[image.id].first))


def disk_space(path: str) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def to_free(total: int, free: int, high_percent: int, low_percent: int) -> int:
    """The bytes to free: none below the high mark, else down to the low one."""
    used = total - free
    return max(used - total * low_percent // 100, 0) if used * 100 >= total * high_percent else 0
