"""A configuration file that is read again when it changes; one that makes no sense then changes nothing."""

import logging
from collections.abc import Callable
from pathlib import Path

from kybern.aio.clock import Clock
from kybern.client.kubeconfig import KubeconfigError

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class FollowedFile:
    def __init__(self, path: Path, take: Callable[[bytes], None], about: str, clock: Clock) -> None:
        """`take` raises ValueError, or KubeconfigError, before it has changed anything. `about` names what goes by it."""
        self.path, self.take, self.about, self.clock = path, take, about, clock
        self.known = path.read_bytes()

    async def run(self) -> None:
        while True:
            await self.clock.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        try:
            text = self.path.read_bytes()
            if text == self.known:
                return
            self.known = text
            self.take(text)
            log.info("%s goes by %s again", self.about, self.path)
        except (OSError, ValueError, KubeconfigError) as error:
            log.error("%s stays as it was: %s", self.about, error)
