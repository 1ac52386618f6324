"""Keeping container logs small: a log that has grown too long is put aside, and the oldest put aside are removed."""

import logging
import os
from datetime import UTC, datetime

from kybern.kubelet.parts import Parts
from kybern.runtime.cri import ContainerState, RuntimeFault

PERIOD_SECONDS = 10.0

log = logging.getLogger(__name__)


async def rotate_logs(parts: Parts) -> None:
    """Until cancelled."""
    while parts.node.on_disk:
        await parts.clock.sleep(PERIOD_SECONDS)
        for status in [c for observed in parts.pleg.every().values() for c in observed.containers]:
            if status.state is not ContainerState.RUNNING or size_of(status.log_path) <= parts.config.log_bytes_max:
                continue
            try:
                put_aside(status.log_path, parts.clock.wall(), parts.config.log_files_max)
                await parts.runtime.reopen_container_log(status.id)
            except (RuntimeFault, OSError) as error:
                log.warning("the log of container %s could not be rotated: %s", status.metadata.name, error)


def size_of(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except OSError:
        return 0


def put_aside(path: str, now: float, files_max: int) -> None:
    """`0.log` becomes `0.log.20260131-080000`; so many of those are kept that there are `files_max` with the new one."""
    directory, name = os.path.split(path)
    old = sorted(entry for entry in os.listdir(directory) if entry.startswith(f"{name}."))
    for entry in old[: max(len(old) - (files_max - 2), 0)]:
        os.unlink(f"{directory}/{entry}")
    os.rename(path, f"{path}.{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}")
