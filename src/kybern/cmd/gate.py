"""The gate of a rootless cluster: the one process of it that stays outside, in the machine's own network.

An ordinary user's cluster is in namespaces of its own (docs/decisions/0017). The gate makes them, is the parent of what runs
in them, and ends with it, as that ends with the gate. It leads packets out (pasta or slirp4netns), and gives whoever asks
on its socket, as the same user, a port of the machine to listen on: a socket keeps the network it was made in.

    {"kind": "tcp", "address": "127.0.0.1", "port": 6443}   ->   {} with the socket, or {"errno": 98}
"""

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kybern.linux import delegation, processes, user_namespace
from kybern.linux.uplink import Uplink

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
MESSAGE_BYTES_MAX = 4096
ANSWER_SECONDS = 5.0
BACKLOG = 1024


def port_of_machine(gate: Path, kind: str, address: str, port: int) -> socket.socket:
    """Bound there, and listening where the kind does. OSError as `bind` has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(gate))
        connection.send(json.dumps({"kind": kind, "address": address, "port": port}).encode())
        answer, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
    if not descriptors:
        number = json.loads(answer or b"{}").get("errno", 0)
        raise OSError(number, os.strerror(number), f"{address}:{port}")
    return socket.socket(fileno=descriptors[0])


class Gate:
    def __init__(self, path: Path, uplink: Uplink | None) -> None:
        self.uplink = uplink
        self.selector = selectors.DefaultSelector()
        self.listener = listen(path)
        self.selector.register(self.listener, selectors.EVENT_READ, self._answer)
        self.inside = 0
        """The first process of the cluster's PID namespace."""
        self.over = False

    def run(self, name: str, group: str, supervise: Callable[[socket.socket], NoReturn]) -> None:
        """Until the cluster has ended. `supervise` is called in the namespaces, and ends when its socket does; `group` is
        the cgroup that was given to the cluster."""
        processes.become_subreaper()
        wakeup = self._signals()
        held, leash = socket.socketpair()

        def first_process() -> NoReturn:
            for ours in (held, wakeup, self.listener):
                ours.close()
            self.selector.close()
            signal.set_wakeup_fd(-1)
            supervise(leash)

        self.inside = user_namespace.make(first_process, (lambda: delegation.enter(group)) if group else lambda: None)
        leash.close()
        processes.set_name(name)
        try:
            if self.uplink is not None:
                self.uplink.start(self.inside)
            while not self.over:
                for key, _ in self.selector.select():
                    key.data()
                self._reap()
        finally:
            held.close()
            if self.uplink is not None:
                self.uplink.stop()

    def _signals(self) -> socket.socket:
        """Whoever tells the gate to end means the cluster."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        self.selector.register(reader, selectors.EVENT_READ, lambda: reader.recv(4096))
        return writer

    def _pass_on(self, *_: object) -> None:
        if self.inside:
            os.kill(self.inside, signal.SIGTERM)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid = 0
            if pid == 0:
                return
            self.over |= pid == self.inside

    def _answer(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            if processes.peer(connection)[1] != os.geteuid():
                return
            connection.settimeout(1.0)
            try:
                asked = json.loads(connection.recv(MESSAGE_BYTES_MAX))
                with opened(asked["kind"], asked["address"], int(asked["port"])) as made:
                    socket.send_fds(connection, [b"{}"], [made.fileno()])
            except OSError as error:
                send(connection, {"errno": error.errno or 0})
            except (KeyError, ValueError, TypeError, OverflowError):
                send(connection, {"errno": 22})


def opened(kind: str, address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind])
    try:
        if kind == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if kind == "tcp":
            made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def send(connection: socket.socket, message: dict[str, int]) -> None:
    try:
        connection.send(json.dumps(message).encode())
    except OSError:
        pass  # who asked did not wait for the answer


def listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    previous = os.umask(0o177)
    try:
        made.bind(str(path))
    finally:
        os.umask(previous)
    made.listen(16)
    return made
