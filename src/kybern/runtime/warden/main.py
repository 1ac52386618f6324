"""The warden's life: take over what is there, listen, serve until told to end. Containers go on without it."""

import gc
import os
import signal
import socket
import sys

from kybern.linux import cgroup_detect, processes
from kybern.runtime.warden.containers import Containers
from kybern.runtime.warden.execs import Execs
from kybern.runtime.warden.fdstore import Kept
from kybern.runtime.warden.loop import Loop
from kybern.runtime.warden.service import Service


def main(socket_path: str, state_dir: str, keeper_path: str = "") -> None:
    """`state_dir` holds a directory per container; `keeper_path` is the supervisor's socket, empty without one."""
    processes.set_name("kybern-warden")
    processes.allow_many_files()
    loop = Loop()
    wakeup = stop_on_signals(loop)
    kept = Kept(keeper_path)
    service = Service(loop, listen(socket_path))
    groups = cgroup_detect.detect()
    service.containers = Containers(loop, state_dir, groups, kept, service.changed)
    service.execs = Execs(loop, groups, service.exec_ended)
    service.containers.adopt()
    if kept.connection is not None:
        loop.watch(kept.connection.fileno(), lambda: hear_exits(loop, kept, service.containers))
    gc.collect()
    gc.freeze()  # children share this memory as long as nobody writes to it
    loop.run()
    wakeup.close()
    os.unlink(socket_path)


def hear_exits(loop: Loop, kept: Kept, containers: Containers) -> None:
    """How adopted processes ended. Without a supervisor there is nothing left to be a part of, so the warden ends."""
    if kept.ready():
        containers.hear_exits()
    else:
        loop.stopped = True


def stop_on_signals(loop: Loop) -> socket.socket:
    """The socket is the signals' way into the loop; the caller keeps it."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def stop(*_: object) -> None:
        loop.stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop.watch(reader.fileno(), lambda: drain(reader))
    return writer


def drain(reader: socket.socket) -> None:
    reader.recv(4096)


def listen(path: str) -> socket.socket:
    if os.path.exists(path):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    previous = os.umask(0o177)
    try:
        made.bind(path)
    finally:
        os.umask(previous)
    made.listen(16)
    return made


if __name__ == "__main__":
    main(*sys.argv[1:])
