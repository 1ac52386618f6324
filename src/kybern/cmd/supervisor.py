"""The supervisor: starts the processes of a cluster by forking, and starts again what dies.

It imports everything once, and every process is a fork of that warm image: starting one takes milliseconds, and they
share the memory of what was imported. So it stays single-threaded and runs no event loop: a fork copies one thread.

- A process that dies is started again after a back-off that grows while it keeps dying.
- Containers outlive all of them: the supervisor keeps their streams open (the warden's fd store) and, being their
  subreaper, learns how they ended while no warden runs.
- A unix socket answers with the state as JSON (`kybern status`). TERM stops everything in reverse order.
- HUP asks `wanted` which programs there are to be: new ones are started, others stopped (`kybern node add`, `remove`).
"""

import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

from kybern.aio.backoff import Backoff
from kybern.linux.processes import die_with_parent

RESTART = Backoff(first_seconds=0.1, max_seconds=10.0)
STEADY_SECONDS = 30.0  # a process that ran this long starts afresh: its next death is its first
STOP_SECONDS = 10.0
ENDING = (signal.SIGTERM, signal.SIGINT)
YOUNG_OBJECTS_MAX = 10_000  # between two looks for cycles: of every request's few hundred objects hardly any stays

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What the supervisor keeps for the warden: see runtime.warden.fdstore."""

    def fileno(self) -> int: ...

    def ready(self) -> None:
        """The file descriptor is readable."""

    def exited(self, pid: int, status: int) -> None:
        """A process that is none of the supervisor's own has ended."""

    def close(self) -> None: ...


@dataclass(slots=True)
class Program:
    """One process: what it runs and how it has fared."""

    name: str
    module: str
    """Imported before the fork, so that every start after the first finds it warm."""
    main: Callable[[ModuleType], None]
    """Given the module; runs in the child until the process is to end."""
    more_seconds: Callable[[], float] = float
    """How long it may take to end, besides the usual."""
    make_keeper: Callable[[], Keeper] | None = None
    """Of what must outlive the process, made before its first start."""
    keeper: Keeper | None = None
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    last_exit: str = ""
    restarts: int = 0


@dataclass(slots=True)
class Supervisor:
    programs: list[Program]
    socket_path: Path
    log_directory: Path
    wanted: Callable[[], list[Program]] | None = None
    """Asked after HUP; programs are told apart by their names."""
    leash: socket.socket | None = None
    """Its other end is held by who must not be outlived."""
    about: dict[str, object] = field(default_factory=dict)
    """Goes into the status as it is."""
    stopping: bool = False
    told_to_look: bool = False
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    listener: socket.socket | None = None
    wakeup: socket.socket | None = None
    """Written to by the interpreter on every signal; kept, since its end is the signals' only way in."""

    def run(self) -> None:
        """Until a signal says stop."""
        self._listen()
        wakeup = self._signals()
        if self.leash is not None:
            self.selector.register(self.leash, selectors.EVENT_READ, self._told_to_stop)
        try:
            for program in self.programs:
                self.start(program)
            while not self.stopping:
                for key, _ in self.selector.select(self._until_next_restart()):
                    key.data()
                self._reap()
                self._look_again()
                self._restart_due()
        finally:
            wakeup.close()
            self._stop_all()

    def _listen(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        previous = os.umask(0o177)
        self.listener.bind(str(self.socket_path))
        os.umask(previous)
        self.listener.listen(16)
        self.selector.register(self.listener, selectors.EVENT_READ, self._answer_status)

    def _signals(self) -> socket.socket:
        """Signals only wake the loop; TERM and INT also tell it to end."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        reader.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in ENDING:
            signal.signal(number, self._told_to_stop)
        signal.signal(signal.SIGHUP, self._told_to_look)
        self.selector.register(reader, selectors.EVENT_READ, lambda: reader.recv(4096))
        self.wakeup = writer
        return reader

    def _told_to_stop(self, *_: object) -> None:
        self.stopping = True

    def _told_to_look(self, *_: object) -> None:
        self.told_to_look = True

    def _look_again(self) -> None:
        """The programs become those that are wanted; one that is not is given no time, as if its machine had gone."""
        if not self.told_to_look or self.wanted is None:
            return
        self.told_to_look = False
        wanted = {program.name: program for program in self.wanted()}
        for program in [program for program in self.programs if program.name not in wanted]:
            self.programs.remove(program)
            self._end(program)
        known = {program.name for program in self.programs}
        for program in [program for name, program in wanted.items() if name not in known]:
            self.programs.append(program)
            self.start(program)

    def _end(self, program: Program) -> None:
        if program.pid:
            os.kill(program.pid, signal.SIGKILL)
            os.waitpid(program.pid, 0)
            program.pid = 0
        if program.keeper is not None:
            self.selector.unregister(program.keeper.fileno())
            program.keeper.close()

    def start(self, program: Program) -> None:
        if program.make_keeper is not None and program.keeper is None:
            program.keeper = program.make_keeper()
            self.selector.register(program.keeper.fileno(), selectors.EVENT_READ, program.keeper.ready)
        program.restart_at = 0.0
        program.started = time.monotonic()
        module = import_module(program.module)
        gc.freeze()  # a collection in the child would write to, and so copy, all that it shares with us
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # to a child that is still like us it would mean nothing
        pid = os.fork()
        if pid == 0:
            self._become(program, module)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        program.pid = pid
        log.info("started %s as process %d", program.name, pid)

    def _become(self, program: Program, module: ModuleType) -> None:
        """In the child: let go of what is the supervisor's, run, exit. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, *ENDING):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            self.selector.close()
            if self.listener is not None:
                self.listener.close()
            for keeper in self._keepers():
                keeper.close()
            gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
            redirect_output(self.log_directory / f"{program.name}.out")
            die_with_parent(signal.SIGTERM)  # nobody would start it again, and it would be in the next one's way
            program.main(module)
            code = 0
        except KeyboardInterrupt:
            code = 130
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last frame of a process: written down, and the exit code tells the rest
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            program = next((p for p in self.programs if p.pid == pid), None)
            if program is not None:
                self._died(program, status)
            else:
                for keeper in self._keepers():  # whose it was only its warden knows
                    keeper.exited(pid, status)

    def _keepers(self) -> list[Keeper]:
        return [program.keeper for program in self.programs if program.keeper is not None]

    def _died(self, program: Program, status: int) -> None:
        now = time.monotonic()
        program.pid = 0
        program.last_exit = describe_exit(status)
        if now - program.started > STEADY_SECONDS:
            program.failures = 0
        program.failures += 1
        program.restarts += 1
        program.restart_at = now + RESTART.delay(program.failures)
        log.warning("%s ended (%s), starts again in %.1f s", program.name, program.last_exit, program.restart_at - now)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for program in self.programs:
            if program.pid == 0 and not self.stopping and program.restart_at <= now:
                self.start(program)

    def _until_next_restart(self) -> float | None:
        waiting = [program.restart_at for program in self.programs if program.pid == 0]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _answer_status(self) -> None:
        assert self.listener is not None
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                connection.sendall(json.dumps(self.status()).encode())
            except OSError:
                pass  # who asked did not wait for the answer

    def status(self) -> dict[str, object]:
        now = time.monotonic()
        programs = [
            {
                "name": p.name,
                "pid": p.pid,
                "restarts": p.restarts,
                "seconds": round(now - p.started, 1) if p.pid else 0,
                "last_exit": p.last_exit,
            }
            for p in self.programs
        ]
        ends = sum(STOP_SECONDS + program.more_seconds() for program in self.programs)
        return {**self.about, "pid": os.getpid(), "programs": programs, "stop_seconds": ends}

    def _stop_all(self) -> None:
        """One after the other, the last started first: a node can still say goodbye to its server."""
        for program in reversed(self.programs):
            if program.pid:
                stop_process(program.pid, STOP_SECONDS + program.more_seconds())
                program.pid = 0
        for keeper in self._keepers():
            keeper.close()
        if self.listener is not None:
            self.listener.close()
        self.socket_path.unlink(missing_ok=True)


def stop_process(pid: int, seconds: float) -> None:
    """TERM, and KILL when that is not enough in time."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            return
        time.sleep(0.01)
    log.warning("process %d did not stop in %.0f s and is killed", pid, seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def describe_exit(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.WEXITSTATUS(status)}"


def redirect_output(path: Path) -> None:
    """Standard output and error into a file, standard input from nowhere."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.close(nothing)
