"""A cable of a given length: what comes in at one link goes out at another after a while, or gets lost.

Works on every kernel, where netem may be missing. Frames pass with their offload header (PACKET_VNET_HDR), so a packet
that the kernel has not cut up or summed yet is finished by whoever gets it, as on one machine.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 15, 23
FRAME_BYTES_MAX = 66_000  # a packet of 64 KiB not yet cut up, and its headers
FRAMES_UNDER_WAY_MAX = 20_000
FRAMES_AT_ONCE_MAX = 64


class SlowLink:
    def __init__(self, one: str, other: str, seconds: float, is_lost: Callable[[], bool]) -> None:
        """Between two links of the namespace that this thread is in."""
        self.seconds, self.is_lost = seconds, is_lost
        self.ends = (packet_socket(one), packet_socket(other))
        self.under_way = 0

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        one, other = self.ends
        loop.add_reader(one, self._take, one, other)
        loop.add_reader(other, self._take, other, one)
        try:
            await asyncio.Event().wait()
        finally:
            for end in self.ends:
                loop.remove_reader(end)
                end.close()

    def _take(self, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(FRAMES_AT_ONCE_MAX):
            try:
                frame = source.recv(FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    return  # the cable is cut
                raise
            if self.under_way < FRAMES_UNDER_WAY_MAX and not self.is_lost():
                self.under_way += 1
                loop.call_later(self.seconds, self._give, target, frame)

    def _give(self, target: socket.socket, frame: bytes) -> None:
        self.under_way -= 1
        try:
            target.send(frame)
        except OSError:
            pass  # the other end is full or down: lost, as on any cable


def packet_socket(link: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.bind((link, ETH_P_ALL))
    return made
