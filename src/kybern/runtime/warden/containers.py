"""The containers of a node as the warden sees them: started, running, ended; each change is on disk before it is told."""

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.linux import processes
from kybern.linux.cgroups import REMOVE_SECONDS, Cgroups, DeviceRule, Limits
from kybern.runtime.warden import oci, records
from kybern.runtime.warden.fdstore import Kept
from kybern.runtime.warden.logs import open_log
from kybern.runtime.warden.loop import Loop
from kybern.runtime.warden.process import Failure, Starting, start
from kybern.runtime.warden.records import Record
from kybern.runtime.warden.streams import NAMES, Streams

EXIT_WAIT_SECONDS = 1.0  # for the supervisor's word on how an adopted process ended
AGAIN_SECONDS = 0.002  # between two looks whether a group is empty
UNKNOWN_CODE = 255
SETUP_REASON, SETUP_EXIT_CODE = "StartError", 128


class Refused(Exception):
    """The operation makes no sense for this container now."""


@dataclass(slots=True)
class Container:
    id: str
    record: Record
    request: Mapping[str, Any] = field(default_factory=dict)
    pidfd: int = -1
    streams: Streams | None = None
    adopted: bool = False
    """Another warden started it, so the supervisor learns how it ends."""

    @property
    def running(self) -> bool:
        return self.record.get("status") == "running"

    @property
    def cgroup(self) -> str:
        return str(self.record.get("cgroup") or "")


Told = Callable[[Container], None]
Answer = Callable[[Container, Failure | None], None]
Forgotten = Callable[[OSError | None], None]


class Containers:
    def __init__(self, loop: Loop, state_dir: str, groups: Cgroups, kept: Kept, told: Told) -> None:
        """`told` hears of every change of a container's state."""
        self.loop, self.state_dir, self.groups, self.kept, self.told = loop, state_dir, groups, kept, told
        self.by_id: dict[str, Container] = {}
        self.starting: dict[int, Container] = {}

    def get(self, identifier: str) -> Container:
        found = self.by_id.get(identifier)
        if found is None:
            raise Refused(f"container {identifier!r} not found")
        return found

    # Start

    def start(self, request: Mapping[str, Any], answer: Answer) -> None:
        """`request`: container, spec (OCI), rootfs, staging, log, stdin."""
        identifier, spec = request["container"], request["spec"]
        if identifier in self.by_id and self.by_id[identifier].record:
            raise Refused(f"container {identifier!r} was started before")
        container = Container(identifier, {}, request)
        self.by_id[identifier] = container
        path = spec["linux"].get("cgroupsPath") or ""
        try:
            self._make_cgroup(path, spec["linux"].get("resources") or {}, request.get("limits") or {})
            started = start(
                self.loop,
                spec=spec,
                stdin=bool(request.get("stdin")),
                rootfs=request["rootfs"],
                staging=request["staging"],
                views=self.groups.views(path) if path else (),
                entrance=(lambda: self.groups.entrance(path)) if path else None,
                on_ready=lambda starting: self._ready(container, starting),
                on_end=lambda starting, failure: self._started(container, starting, failure, answer),
            )
        except OSError as error:
            self._never_ran(container, path, Failure(f"{error.strerror}: {error.filename}"))
            answer(container, Failure(f"{error.strerror}: {error.filename}"))
            return
        container.pidfd = started.pidfd
        self.starting[started.pid] = container

    def _make_cgroup(self, path: str, resources: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
        if not path:
            return
        self.groups.create(path)
        self.groups.limit(path, Limits(**limits))
        rules = [
            DeviceRule(rule.get("type", "a"), _any(rule.get("major")), _any(rule.get("minor")), rule["access"])
            for rule in resources.get("devices") or ()
            if rule["allow"]
        ]
        if rules:
            self.groups.allow_devices(path, rules)

    def _ready(self, container: Container, starting: Starting) -> None:
        """Written down before its program is let go."""
        path = container.request["spec"]["linux"].get("cgroupsPath") or ""
        container.record = records.running(starting.pid) | {
            "cgroup": path,
            "log": container.request.get("log") or "",
            "user": starting.user,
            "started_at": time.time(),
        }
        if handler := container.request["spec"].get("handler"):
            container.record["handler"] = handler
        try:
            records.save(self.state_dir, container.id, container.record)
        except OSError as error:
            starting.failure = Failure(f"{error.strerror}: {error.filename}")
            processes.kill(starting.pidfd)
            return
        self.kept.store(container.id, [starting.ours[name] for name in NAMES if name in starting.ours])

    def _started(self, container: Container, starting: Starting, failure: Failure | None, answer: Answer) -> None:
        self.starting.pop(starting.pid, None)
        if failure is not None:
            os.waitpid(starting.pid, 0)
            for descriptor in starting.ours.values():
                os.close(descriptor)
            self._never_ran(container, container.request["spec"]["linux"].get("cgroupsPath") or "", failure)
            answer(container, failure)
            return
        log = open_log(container.record["log"])
        container.streams = Streams(self.loop, log, starting.ours)
        self._watch(container)
        self.told(container)  # first, so that who asked already knows it when the answer comes
        answer(container, None)

    def _never_ran(self, container: Container, path: str, failure: Failure) -> None:
        now = time.time()
        container.record = {
            "status": "exited",
            "exit_code": SETUP_EXIT_CODE,
            "reason": SETUP_REASON,
            "message": failure.message,
            "finished_at": now,
            "cgroup": path,
        }
        self._close(container)
        self.told(container)

    # End

    def _watch(self, container: Container) -> None:
        self.loop.watch(container.pidfd, lambda: self._over(container))

    def _over(self, container: Container) -> None:
        """Its first process ended. A child is reaped here; of an adopted one the supervisor tells."""
        self.loop.forget(container.pidfd)
        pid = container.record["pid"]
        if not container.adopted:
            _, status = os.waitpid(pid, 0)
            self._ended(container, status)
        elif pid in self.kept.exits:
            self._ended(container, self.kept.exits.pop(pid))
        else:
            self.loop.later(EXIT_WAIT_SECONDS, lambda: self._ended(container, self.kept.exits.pop(pid, None)))

    def hear_exits(self) -> None:
        """The supervisor told how processes ended: perhaps one that is waited for."""
        for container in list(self.by_id.values()):
            pid = container.record.get("pid")
            if container.adopted and container.running and pid in self.kept.exits:
                self.loop.forget(container.pidfd)
                self._ended(container, self.kept.exits.pop(pid))

    def _ended(self, container: Container, status: int | None) -> None:
        if not container.running:
            return
        if container.cgroup:
            self._kill_group(container)
        container.record |= outcome(status, oom=self._oom(container)) | {"status": "exited", "finished_at": time.time()}
        if (handler := container.record.get("handler")) and (message := oci.failure_of(handler)):
            container.record |= {"reason": SETUP_REASON, "message": message}
        if container.streams is not None:
            container.streams.finish()
            container.streams = None
        self._close(container)
        self.told(container)

    def _oom(self, container: Container) -> bool:
        try:
            return bool(container.cgroup) and self.groups.oom_kills(container.cgroup) > 0
        except OSError:
            return False

    def _kill_group(self, container: Container) -> None:
        """What it left behind: with a PID namespace of its own the kernel has killed everything already."""
        try:
            self.groups.kill(container.cgroup)
        except OSError:
            pass  # the group is gone

    def _close(self, container: Container) -> None:
        if container.pidfd >= 0:
            os.close(container.pidfd)
            container.pidfd = -1
        self.kept.drop(container.id)
        if container.cgroup:
            try:
                self.groups.remove(container.cgroup, 0.0)
            except OSError:
                pass  # a process has not died yet; removing the container tries again
        try:
            records.save(self.state_dir, container.id, container.record)
        except OSError:
            pass  # a full disk: this warden still knows; the next one asks the kernel and the supervisor

    # Between start and end

    def signal(self, identifier: str, number: int) -> None:
        container = self.get(identifier)
        if container.pidfd >= 0 and container.running:
            handler = container.record.get("handler")
            if handler and not handler["forwards"] and number != signal.SIGKILL:
                oci.send_signal(self.loop, handler, number)
                return
            try:
                signal.pidfd_send_signal(container.pidfd, number)
            except ProcessLookupError:
                pass  # it has just ended

    def abandon(self, identifier: str) -> bool:
        """Break off a start that is under way; whether there was one."""
        container = next((found for found in self.starting.values() if found.id == identifier), None)
        if container is not None:
            processes.kill(container.pidfd)
        return container is not None

    def close_stdin(self, identifier: str) -> None:
        """Also where the supervisor keeps it, or the container would never see its end."""
        streams = self.get(identifier).streams
        if streams is not None and "stdin" in streams.descriptors:
            streams.close_stdin()
            self.kept.store(identifier, [streams.descriptors[name] for name in NAMES if name in streams.descriptors])

    def limit(self, identifier: str, limits: Mapping[str, Any]) -> None:
        container = self.get(identifier)
        if container.running and container.cgroup:
            self.groups.limit(container.cgroup, Limits(**limits))

    def forget(self, identifier: str, group: str, answer: Forgotten) -> None:
        """The agent removes it; its directory is the agent's. The group may be there without a record: a warden that
        was killed while it started the container left it. Others have their turn while the last of its processes dies."""
        container = self.by_id.get(identifier)
        if container is not None and (container.running or container in self.starting.values()):
            raise Refused(f"container {identifier!r} is running")
        if group:
            self.groups.kill(group)
        deadline = time.monotonic() + REMOVE_SECONDS

        def remove() -> None:
            found = self.by_id.get(identifier)
            if found is not None and found is not container:
                answer(OSError(errno.EBUSY, "it was started meanwhile", identifier))
                return
            try:
                if group:
                    self.groups.remove(group, 0.0)
            except OSError as error:
                if time.monotonic() > deadline:
                    answer(error)
                else:
                    self.loop.later(AGAIN_SECONDS, remove)
                return
            self.by_id.pop(identifier, None)
            answer(None)

        remove()

    # A new warden

    def adopt(self) -> None:
        """Take over what an earlier warden left, with the streams the supervisor kept."""
        kept = self.kept.take()
        for identifier, record in records.load_all(self.state_dir):
            container = Container(identifier, record, adopted=True)
            self.by_id[identifier] = container
            descriptors = kept.pop(identifier, [])
            if not container.running:
                _close_all(descriptors)
                continue
            self._adopt_running(container, descriptors)
        for descriptors in kept.values():
            _close_all(descriptors)

    def _adopt_running(self, container: Container, descriptors: list[int]) -> None:
        log = open_log(container.record["log"])
        container.streams = Streams(self.loop, log, dict(zip(names_of(descriptors), descriptors, strict=True)))
        if not records.alive(container.record):
            self._ended(container, self.kept.exits.pop(container.record["pid"], None))
            return
        container.pidfd = os.pidfd_open(container.record["pid"])
        self._watch(container)


def names_of(descriptors: list[int]) -> tuple[str, ...]:
    """A terminal is alone; without stdin there are two pipes."""
    return {1: ("terminal",), 2: ("stdout", "stderr"), 3: ("stdin", "stdout", "stderr")}.get(len(descriptors), ())


def outcome(status: int | None, *, oom: bool) -> Record:
    """Exit code, signal and reason, as CRI shows them."""
    if status is None:
        return {"exit_code": UNKNOWN_CODE, "signal": 0, "reason": "Unknown"}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"exit_code": 128 + number, "signal": number, "reason": "OOMKilled" if oom else "Error"}
    code = os.WEXITSTATUS(status)
    return {"exit_code": code, "signal": 0, "reason": ("OOMKilled" if oom else "Error") if code else "Completed"}


def _any(number: int | None) -> int:
    return -1 if number is None else number


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
