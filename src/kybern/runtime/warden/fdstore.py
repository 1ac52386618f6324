"""What must outlive the warden, kept by the supervisor: the containers' streams, and how orphans ended.

The supervisor holds a `Keeper`:

    keeper = Keeper("/run/kybern/keeper.sock")      # before the first fork; makes this process a subreaper
    selector.register(keeper.fileno(), EVENT_READ, keeper.ready)
    keeper.exited(pid, status)                      # for every reaped pid that is none of the supervisor's own
    keeper.close()                                  # at the end, and in every child after fork

The warden is the one client (`Kept`). It stores the descriptors of each container under its id, and drops them when
the container has ended. A warden that starts takes everything back, with the wait statuses of processes that ended
while there was none: when a warden dies, its containers become children of the supervisor.
"""

import json
import os
import select
import socket
from collections import OrderedDict
from typing import Any

from kybern.linux import processes

MESSAGE_BYTES_MAX = 1 << 16
DESCRIPTORS_MAX = 8
EXITS_MAX = 4096  # of processes nobody asked about


class Keeper:
    """The supervisor's side. Never blocks."""

    def __init__(self, path: str) -> None:
        self.stored: dict[str, list[int]] = {}
        self.exits: OrderedDict[int, int] = OrderedDict()
        self.connection: socket.socket | None = None
        processes.become_subreaper()
        processes.allow_many_files()
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        previous = os.umask(0o177)
        try:
            self.listener.bind(path)
        finally:
            os.umask(previous)
        self.listener.listen(4)
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when there is something to do."""
        return self.epoll.fileno()

    def ready(self) -> None:
        for descriptor, _ in self.epoll.poll(0):
            if descriptor == self.listener.fileno():
                self._accept()
            elif self.connection is not None:
                self._serve(self.connection)

    def exited(self, pid: int, status: int) -> None:
        """A process that was the warden's has ended; `status` as from waitpid."""
        self.exits[pid] = status
        while len(self.exits) > EXITS_MAX:
            self.exits.popitem(last=False)
        if self.connection is not None:
            self._send(self.connection, {"exits": {pid: status}})

    def close(self) -> None:
        self.epoll.close()
        self.listener.close()
        if self.connection is not None:
            self.connection.close()
        for descriptors in self.stored.values():
            _close_all(descriptors)
        self.stored.clear()

    def _accept(self) -> None:
        """The newest warden is the warden."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        if processes.peer(connection)[1] != os.geteuid():
            connection.close()
            return
        self._hang_up()
        connection.setblocking(False)
        self.connection = connection
        self.epoll.register(connection.fileno(), select.EPOLLIN)

    def _hang_up(self) -> None:
        if self.connection is not None:
            self.epoll.unregister(self.connection.fileno())
            self.connection.close()
            self.connection = None

    def _serve(self, connection: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                connection, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._hang_up()
            return
        message = json.loads(data)
        if message["op"] == "store":
            _close_all(self.stored.pop(message["name"], []))
            self.stored[message["name"]] = list(descriptors)
        elif message["op"] == "drop":
            _close_all(self.stored.pop(message["name"], []))
        elif message["op"] == "take":
            self._give(connection)

    def _give(self, connection: socket.socket) -> None:
        connection.setblocking(True)  # a warden that starts does nothing but read this
        connection.settimeout(5.0)
        for name, descriptors in self.stored.items():
            self._send(connection, {"name": name}, descriptors)
        self._send(connection, {"end": True, "exits": self.exits})
        connection.setblocking(False)

    def _send(self, connection: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(connection, [json.dumps(message).encode()], descriptors or [])
        except OSError:
            pass  # the warden is gone or stuck; the next one asks again


class Kept:
    """The warden's side. Without a supervisor (`path` empty) nothing is kept and nobody's exits are known."""

    def __init__(self, path: str) -> None:
        self.connection: socket.socket | None = None
        self.exits: dict[int, int] = {}
        if path:
            self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            self.connection.connect(path)

    def store(self, name: str, descriptors: list[int]) -> None:
        self._send({"op": "store", "name": name}, descriptors)

    def drop(self, name: str) -> None:
        self._send({"op": "drop", "name": name})

    def take(self) -> dict[str, list[int]]:
        """Everything that is kept, once at the start."""
        found: dict[str, list[int]] = {}
        if self.connection is None:
            return found
        self._send({"op": "take"})
        while True:
            message, descriptors = self._receive()
            if "name" in message:
                found[message["name"]] = descriptors
            if not message or "end" in message:
                return found

    def ready(self) -> bool:
        """More exits have come; False when the supervisor is gone."""
        message, descriptors = self._receive()
        _close_all(descriptors)
        return bool(message)

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        assert self.connection is not None
        data, descriptors, _, _ = socket.recv_fds(
            self.connection, MESSAGE_BYTES_MAX * 4, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
        )
        message: dict[str, Any] = json.loads(data) if data else {}
        self.exits |= {int(pid): status for pid, status in message.get("exits", {}).items()}
        return message, list(descriptors)

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        if self.connection is None:
            return
        try:
            socket.send_fds(self.connection, [json.dumps(message).encode()], descriptors or [])
        except OSError:
            self.connection = None  # without its supervisor the warden goes on, only unkept


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
