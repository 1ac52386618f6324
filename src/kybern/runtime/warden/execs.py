"""More processes in running containers: exec. Their streams go to who asked; here only their end is known."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from kybern.linux import processes
from kybern.linux.cgroups import Cgroups
from kybern.runtime.warden import oci
from kybern.runtime.warden.containers import Container, Refused, outcome
from kybern.runtime.warden.loop import Loop
from kybern.runtime.warden.process import Failure, Starting, start


@dataclass(slots=True)
class Exec:
    id: int
    container: Container
    owner: object
    """The connection that asked: when it goes, the process is killed."""
    pid: int = 0
    pidfd: int = -1


Answer = Callable[[Exec, dict[str, int], Failure | None], None]
Ended = Callable[[Exec, int], None]


class Execs:
    def __init__(self, loop: Loop, groups: Cgroups, ended: Ended) -> None:
        """`ended` hears of each exit code."""
        self.loop, self.groups, self.ended = loop, groups, ended
        self.by_id: dict[int, Exec] = {}
        self.numbers = count(1)

    def start(
        self, container: Container, spec: Mapping[str, Any], *, stdin: bool, owner: object, answer: Answer
    ) -> None:
        """`spec` is the container's with another `process`; the streams are given away with the answer."""
        if not container.running:
            raise Refused(f"container {container.id!r} is not running")
        made = Exec(next(self.numbers), container, owner)
        if handler := container.record.get("handler"):
            spec = {**spec, "handler": {**handler, "user": container.record["user"]}}
        starting = start(
            self.loop,
            spec=spec,
            stdin=stdin,
            container_pidfd=container.pidfd,
            entrance=(lambda: self.groups.entrance(container.cgroup)) if container.cgroup else None,
            on_ready=lambda starting: None,
            on_end=lambda starting, failure: self._started(made, starting, failure, answer),
        )
        made.pid, made.pidfd = starting.pid, starting.pidfd
        self.by_id[made.id] = made

    def _started(self, made: Exec, starting: Starting, failure: Failure | None, answer: Answer) -> None:
        if failure is not None:
            for descriptor in starting.ours.values():
                os.close(descriptor)
            starting.ours = {}
        answer(made, starting.ours, failure)
        self.loop.watch(made.pidfd, lambda: self._over(made, tell=failure is None))

    def _over(self, made: Exec, *, tell: bool) -> None:
        self.loop.forget(made.pidfd)
        os.close(made.pidfd)
        _, status = os.waitpid(made.pid, 0)
        del self.by_id[made.id]
        if tell:
            self.ended(made, outcome(status, oom=False)["exit_code"])

    def kill(self, number: int) -> None:
        found = self.by_id.get(number)
        if found is not None:
            self._kill(found)

    def kill_of(self, owner: object) -> None:
        for found in list(self.by_id.values()):
            if found.owner is owner:
                self._kill(found)

    def _kill(self, found: Exec) -> None:
        if found.container.record.get("handler"):
            oci.kill_exec(found.pid, found.pidfd)
        else:
            processes.kill(found.pidfd)
