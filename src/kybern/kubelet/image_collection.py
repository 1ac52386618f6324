"""Giving back the disk that unused images take, once it becomes scarce."""

import logging
import os
from collections.abc import Sequence

from kybern.kubelet.parts import Parts
from kybern.runtime.cri import Image, RuntimeFault

PERIOD_SECONDS = 300.0

log = logging.getLogger(__name__)


async def collect_images(parts: Parts) -> None:
    """Now and then, until cancelled."""
    while parts.node.on_disk:
        await parts.clock.sleep(PERIOD_SECONDS)
        try:
            await _collect(parts)
        except (RuntimeFault, OSError) as error:
            log.warning("images could not be collected: %s", error)


async def _collect(parts: Parts) -> None:
    total, free = disk_space(parts.config.data_directory)
    excess = to_free(total, free, parts.config.image_disk_high_percent, parts.config.image_disk_low_percent)
    if not excess:
        return
    used = {status.image_id for observed in parts.pleg.every().values() for status in observed.containers}
    for image in unused(await parts.runtime.list_images(), used):
        await parts.runtime.remove_image(image.id)
        excess -= image.size_bytes
        if excess <= 0:
            return


def disk_space(path: str) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def to_free(total: int, free: int, high_percent: int, low_percent: int) -> int:
    """The bytes to free: none below the high mark, else down to the low one."""
    used = total - free
    return max(used - total * low_percent // 100, 0) if used * 100 >= total * high_percent else 0


def unused(images: Sequence[Image], used: set[str]) -> list[Image]:
    """The largest first, so that the fewest have to go."""
    free = [image for image in images if image.id not in used and not image.pinned]
    return sorted(free, key=lambda image: -image.size_bytes)
