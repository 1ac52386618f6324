"""The first process of a PID namespace that containers share: it reaps what they orphan, and nothing else.

Sandboxes need none for their other namespaces, which are pinned by mounts; a PID namespace ends with its first process.
Until who asked for one says that it is written down (`keep`), it ends with the connection it was asked for on.
"""

import os
import signal
import sys
from typing import NoReturn

from kybern.linux import capabilities, processes
from kybern.runtime.warden.loop import Loop

NOBODY = 65535


class Holders:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.unwritten: dict[int, tuple[int, object]] = {}
        """By pid: its pidfd, and who asked for it."""

    def start(self, owner: object) -> int:
        """Its pid. It ends by SIGKILL, and everything in its namespace with it."""
        pid = processes.fork_into(None, new=True)
        if pid == 0:
            _hold()
        pidfd = os.pidfd_open(pid)
        self.unwritten[pid] = (pidfd, owner)
        self.loop.watch(pidfd, lambda: self._over(pid, pidfd))
        return pid

    def keep(self, pid: int) -> None:
        self.unwritten.pop(pid, None)

    def kill_of(self, owner: object) -> None:
        for pidfd, asked in self.unwritten.values():
            if asked is owner:
                processes.kill(pidfd)

    def _over(self, pid: int, pidfd: int) -> None:
        self.unwritten.pop(pid, None)
        self.loop.forget(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)


def _hold() -> NoReturn:
    try:
        processes.set_dumpable(False)
        signal.set_wakeup_fd(-1)
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        processes.close_from(3)
        processes.set_name("pause")
        capabilities.limit_bounding(())
        os.setgroups(())
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        os.chdir("/")
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        while True:
            signal.sigwait([signal.SIGCHLD])
            _reap()
    except BaseException:  # noqa: BLE001 - it must never come back into the warden's code
        os._exit(1)
    finally:
        sys.stdin = sys.stdout = sys.stderr = None
        os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
