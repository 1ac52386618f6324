"""A user namespace of an ordinary user's own, with all other namespaces that a node needs belonging to it.

Root in it is the user outside; its further ids are those that /etc/subuid and /etc/subgid give the user, which newuidmap
and newgidmap may map. Who may map ids without them (root of a container, say) gets all ids of where it is.

`make` leads a fork of the caller into it: the first process of the new PID namespace. It and the caller have one thread.
"""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

from kybern.linux import mounts, namespaces
from kybern.linux.privilege import may_map_ids

ALL = namespaces.NEWNS | namespaces.NEWNET | namespaces.NEWPID | namespaces.NEWIPC | namespaces.NEWUTS
IDS_WANTED = 65_536
TABLES = {"uid_map": ("newuidmap", "/etc/subuid"), "gid_map": ("newgidmap", "/etc/subgid")}


class Refused(OSError):
    """`step` is what the kernel or a program refused, by its name."""

    def __init__(self, step: str, number: int, reason: str = "") -> None:
        super().__init__(number, reason or os.strerror(number))
        self.step = step

    def __str__(self) -> str:
        return f"namespaces of one's own cannot be made: {self.step}: {self.strerror}"


class Ids(NamedTuple):
    """So many from `inside` on are those from `outside` on."""

    inside: int
    outside: int
    length: int


def given_ids(text: str, name: str, number: int) -> list[tuple[int, int]]:
    """(first, count) of the ranges that a file like /etc/subuid (subuid(5)) gives a user."""
    rows = (line.split(":") for line in text.splitlines())
    found = [row for row in rows if len(row) == 3 and row[0] in (name, str(number))]
    return [(int(first), int(count)) for _, first, count in found if first.isdecimal() and count.isdecimal()]


def id_map(own: int, ranges: Iterable[tuple[int, int]]) -> tuple[Ids, ...]:
    """The user is root, and what it is given follows without a gap."""
    found = [Ids(0, own, 1)]
    for first, count in ranges:
        found.append(Ids(found[-1].inside + found[-1].length, first, count))
    return tuple(found)


def same_ids(text: str) -> tuple[Ids, ...]:
    """From a map as /proc has it: every id that there is here, under its own number."""
    return tuple(Ids(int(row[0]), int(row[0]), int(row[2])) for row in map(str.split, text.splitlines()))


def wanted_map(table: str) -> tuple[Ids, ...]:
    """For a new namespace of this process' user."""
    if may_map_ids():
        return same_ids(_read(f"/proc/self/{table}"))
    own = os.getuid() if table == "uid_map" else os.getgid()
    return id_map(own, given_ids(_read(TABLES[table][1]), user_name(), os.getuid()))


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def map_ids(pid: int) -> None:
    """Of a process that has just made its user namespace."""
    for table, (program, _) in TABLES.items():
        ids = wanted_map(table)
        if may_map_ids():
            with open(f"/proc/{pid}/{table}", "w", encoding="ascii") as opened:
                opened.write("".join(f"{one.inside} {one.outside} {one.length}\n" for one in ids))
            continue
        numbers = [str(number) for one in ids for number in one]
        found = shutil.which(program) or f"/usr/bin/{program}"
        try:
            done = subprocess.run([found, str(pid), *numbers], capture_output=True, text=True, check=False)
        except OSError as error:
            raise Refused(program, error.errno or 0, error.strerror or "") from None
        if done.returncode != 0:
            raise Refused(program, 1, done.stderr.strip().removeprefix(f"{program}: "))


def make(run: Callable[[], NoReturn], entered: Callable[[], None] = lambda: None) -> int:
    """The pid of the fork that calls `run` in it. The caller must be a subreaper, or it is nobody's child.

    `entered` is called there by a process that is in all namespaces but the PID's. Refused when the kernel does.
    """
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    between = os.fork()
    if between == 0:
        here.close()
        _enter_new(there, run, entered)
    there.close()
    try:
        _heard(here)
        map_ids(between)
        here.send(b"go")
        pid = int(_heard(here))
        here.send(b"go")
        _heard(here)
        return pid
    finally:
        here.close()
        os.waitpid(between, 0)


def _heard(connection: socket.socket) -> str:
    word, _, rest = connection.recv(4096).decode().partition(" ")
    if word != "ok":
        step, _, number = rest.rpartition(" ")
        raise Refused(step or "process", int(number or 5))
    return rest


def enter(process: int) -> None:
    """All namespaces of a process (a pidfd of it); its PID namespace is that of the caller's children. One thread only."""
    namespaces.setns(process, namespaces.NEWUSER | ALL)
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _told_to_go(connection: socket.socket) -> None:
    if connection.recv(16) != b"go":
        os._exit(1)


def _enter_new(connection: socket.socket, run: Callable[[], NoReturn], entered: Callable[[], None]) -> NoReturn:
    step = "user namespace"
    try:
        namespaces.unshare(namespaces.NEWUSER)
        connection.send(b"ok")
        _told_to_go(connection)
        step = "ids"
        os.setgroups(())
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        step = "namespaces"
        namespaces.unshare(ALL)
        mounts.set_propagation("/", mounts.PRIVATE)
        step = "cgroup namespace"
        entered()
        step = "process"
        child = os.fork()
        if child == 0:
            _first_process(connection, run)
        connection.send(f"ok {child}".encode())
    except OSError as error:
        connection.send(f"refused {step} {error.errno}".encode())
    os._exit(0)


def _first_process(connection: socket.socket, run: Callable[[], NoReturn]) -> NoReturn:
    step = "proc"
    try:
        _told_to_go(connection)
        mounts.attach_at(mounts.filesystem("proc", attributes=mounts.NOSUID | mounts.NODEV | mounts.NOEXEC), "/proc")
        connection.send(b"ok")
    except OSError as error:
        connection.send(f"refused {step} {error.errno}".encode())
        os._exit(1)
    connection.close()
    run()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as opened:
            return opened.read()
    except OSError:
        return ""
