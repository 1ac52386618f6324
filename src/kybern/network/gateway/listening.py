"""The ports of Gateways' listeners, opened and closed as they come and go; those that Ingresses have are open anyway."""

import ssl
from collections.abc import Callable, Mapping, Sequence

from kybern.web.http import Handler
from kybern.web.server import Server, serve


class Ports:
    def __init__(
        self,
        addresses: Sequence[str],
        fixed: Mapping[int, bool],
        handler: Callable[[int, bool], Handler],
        tls: Callable[[int], ssl.SSLContext],
    ) -> None:
        """`fixed`: ports that others have open for us too, and whether they speak TLS."""
        self.addresses, self.fixed, self.handler, self.tls = addresses, fixed, handler, tls
        self.open: dict[tuple[int, bool], list[Server]] = {}

    async def become(self, wanted: Mapping[int, bool]) -> dict[int, str]:
        """These ports and no others. Returns those that cannot be, and why."""
        for place in [place for place in self.open if wanted.get(place[0]) != place[1]]:
            await self._close(place)
        failed = {}
        for port, secure in wanted.items():
            if port in self.fixed:
                if self.fixed[port] != secure:
                    failed[port] = f"port {port} speaks {'HTTPS' if self.fixed[port] else 'HTTP'} here"
            elif (port, secure) not in self.open:
                try:
                    await self._listen(port, secure)
                except OSError as error:
                    await self._close((port, secure))
                    failed[port] = f"port {port} cannot be listened on: {error.strerror or error}"
        return failed

    async def _listen(self, port: int, secure: bool) -> None:
        listeners = self.open[port, secure] = []
        for address in self.addresses:
            tls = self.tls(port) if secure else None
            listeners.append(await serve(self.handler(port, secure), host=address, port=port, ssl=tls, http2=True))

    async def _close(self, place: tuple[int, bool]) -> None:
        for listener in self.open.pop(place, ()):
            await listener.close()

    async def close(self) -> None:
        for place in list(self.open):
            await self._close(place)
