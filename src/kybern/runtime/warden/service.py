"""The warden's operations, asked for over its unix socket. Each row of `OPERATIONS` is one.

    {"id": 7, "op": "signal", "container": "abc", "number": 15}   ->   {"id": 7, "ok": {}}
                                                                  or   {"id": 7, "error": "...", "code": 128}
    {"event": "state", "container": "abc", "state": {...}}        to every connection, at each change

Only processes of the warden's own user are listened to.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kybern.linux import namespaces, processes
from kybern.runtime.warden.containers import Container, Containers, Refused
from kybern.runtime.warden.execs import Exec, Execs
from kybern.runtime.warden.hold import Holders
from kybern.runtime.warden.loop import READ, WRITE, Loop
from kybern.runtime.warden.messages import Broken, Inbox, Message, Outbox
from kybern.runtime.warden.owners import SetupError
from kybern.runtime.warden.process import Failure

UNSENT_MESSAGES_MAX = 10_000  # a connection that does not read is no agent


class Connection:
    def __init__(self, made: socket.socket, service: "Service") -> None:
        self.socket, self.service = made, service
        self.inbox, self.outbox = Inbox(), Outbox()
        made.setblocking(False)
        service.loop.watch(made.fileno(), self.ready, READ)

    def ready(self) -> None:
        try:
            self.send()
            alive = self.inbox.receive(self.socket)
            for message, descriptors in self.inbox.messages():
                for descriptor in descriptors:
                    os.close(descriptor)  # no operation takes any
                self.service.handle(self, message)
        except (Broken, OSError):
            alive = False
        if not alive:
            self.close()

    def put(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        if self.socket.fileno() < 0:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        self.outbox.put(message, descriptors)
        try:
            self.send()
        except (Broken, OSError):  # an agent that stands still is not the trouble of the container that has news
            self.close()

    def send(self) -> None:
        done = self.outbox.flush(self.socket)
        if len(self.outbox.pending) > UNSENT_MESSAGES_MAX:
            raise Broken("a reader that does not read")
        self.service.loop.watch(self.socket.fileno(), self.ready, READ if done else READ | WRITE)

    def close(self) -> None:
        if self.socket.fileno() < 0:
            return
        self.service.loop.forget(self.socket.fileno())
        self.socket.close()
        self.inbox.close()
        self.outbox.close()
        self.service.gone(self)


class Service:
    def __init__(self, loop: Loop, listener: socket.socket) -> None:
        self.loop, self.listener = loop, listener
        self.connections: list[Connection] = []
        self.containers: Containers
        self.execs: Execs
        self.holders = Holders(loop)
        loop.watch(listener.fileno(), self._accept)

    def _accept(self) -> None:
        made, _ = self.listener.accept()
        if processes.peer(made)[1] != os.geteuid():
            made.close()
            return
        self.connections.append(Connection(made, self))

    def gone(self, connection: Connection) -> None:
        self.connections = [kept for kept in self.connections if kept is not connection]
        self.execs.kill_of(connection)
        self.holders.kill_of(connection)

    def changed(self, container: Container) -> None:
        for connection in list(self.connections):
            connection.put({"event": "state", "container": container.id, "state": container.record})

    def exec_ended(self, made: Exec, code: int) -> None:
        if isinstance(made.owner, Connection):
            made.owner.put({"event": "exec", "exec": made.id, "code": code})

    def handle(self, connection: Connection, message: Message) -> None:
        reply = Reply(connection, message.get("id", 0))
        operation = OPERATIONS.get(message.get("op", ""))
        try:
            if operation is None:
                raise Refused(f"unknown operation {message.get('op')!r}")
            operation(self, message, reply)
        except (Refused, SetupError) as error:
            reply.failed(str(error))
        except OSError as error:
            reply.refused(error)
        except (KeyError, TypeError, ValueError) as error:
            reply.failed(f"{type(error).__name__}: {error}")


class Reply:
    """The answer to one message, given once, now or later."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection, self.number = connection, number

    def ok(self, value: Mapping[str, Any] | None = None, descriptors: Sequence[int] = ()) -> None:
        self.connection.put({"id": self.number, "ok": dict(value or {})}, descriptors)

    def failed(self, message: str, code: int = 128) -> None:
        self.connection.put({"id": self.number, "error": message, "code": code})

    def refused(self, error: OSError) -> None:
        """By the kernel."""
        self.failed(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))


def _start(service: Service, message: Message, reply: Reply) -> None:
    def answer(container: Container, failure: Failure | None) -> None:
        if failure is None:
            reply.ok({"state": container.record})
        else:
            reply.failed(failure.message, failure.code)

    service.containers.start(message, answer)


def _exec(service: Service, message: Message, reply: Reply) -> None:
    def answer(made: Exec, streams: dict[str, int], failure: Failure | None) -> None:
        if failure is None:
            reply.ok({"exec": made.id, "streams": list(streams)}, list(streams.values()))
        else:
            reply.failed(failure.message, failure.code)

    container = service.containers.get(message["container"])
    stdin = bool(message.get("stdin"))
    service.execs.start(container, message["spec"], stdin=stdin, owner=reply.connection, answer=answer)


def _kill_exec(service: Service, message: Message, reply: Reply) -> None:
    service.execs.kill(int(message["exec"]))
    reply.ok()


def _signal(service: Service, message: Message, reply: Reply) -> None:
    service.containers.signal(message["container"], int(message["number"]))
    reply.ok()


def _abandon(service: Service, message: Message, reply: Reply) -> None:
    reply.ok({"starting": service.containers.abandon(message["container"])})


def _attach(service: Service, message: Message, reply: Reply) -> None:
    container = service.containers.get(message["container"])
    if container.streams is None:
        raise Refused(f"container {container.id!r} is not running")
    given, written = container.streams.attach()
    if written >= 0:
        given["stdin"] = written
    reply.ok({"streams": list(given)}, list(given.values()))


def _close_stdin(service: Service, message: Message, reply: Reply) -> None:
    service.containers.close_stdin(message["container"])
    reply.ok()


def _resize(service: Service, message: Message, reply: Reply) -> None:
    container = service.containers.get(message["container"])
    if container.streams is not None:
        container.streams.resize(int(message["width"]), int(message["height"]))
    reply.ok()


def _reopen(service: Service, message: Message, reply: Reply) -> None:
    container = service.containers.get(message["container"])
    if container.streams is None or container.streams.log is None:
        raise Refused(f"container {container.id!r} is not running")
    container.streams.log.reopen()
    reply.ok()


def _limit(service: Service, message: Message, reply: Reply) -> None:
    service.containers.limit(message["container"], message["limits"])
    reply.ok()


def _forget(service: Service, message: Message, reply: Reply) -> None:
    def answer(error: OSError | None) -> None:
        if error is None:
            reply.ok()
        else:
            reply.refused(error)

    service.containers.forget(message["container"], message["cgroup"], answer)


def _list(service: Service, message: Message, reply: Reply) -> None:
    reply.ok({"containers": {each.id: each.record for each in service.containers.by_id.values()}})


def _hold(service: Service, message: Message, reply: Reply) -> None:
    reply.ok({"pid": service.holders.start(reply.connection)})


def _keep(service: Service, message: Message, reply: Reply) -> None:
    service.holders.keep(int(message["pid"]))
    reply.ok()


def _pin(service: Service, message: Message, reply: Reply) -> None:
    paths = {namespaces.IN_ORDER[kind]: path for kind, path in message["paths"].items()}
    namespaces.pin_owned(paths, int(message["host_id"]), int(message["length"]))
    reply.ok()


OPERATIONS: Mapping[str, Callable[[Service, Message, Reply], None]] = {
    "start": _start,
    "exec": _exec,
    "kill_exec": _kill_exec,
    "signal": _signal,
    "abandon": _abandon,
    "attach": _attach,
    "close_stdin": _close_stdin,
    "resize": _resize,
    "reopen": _reopen,
    "limit": _limit,
    "forget": _forget,
    "list": _list,
    "hold": _hold,
    "keep": _keep,
    "pin": _pin,
}
