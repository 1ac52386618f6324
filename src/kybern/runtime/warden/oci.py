"""Containers that an OCI runtime runs (runc, crun, runsc): the forked process becomes that runtime, in the foreground.

It lives as long as the container, passes signals on and ends as the container ends, so to the warden it is one more process
with streams, a cgroup and an exit code. The bundle's root is mounted where only this process' mount namespace has it: when
the runtime ends, nothing stays. A spec says by `handler` which program that is.
"""

import json
import os
import pty
import signal
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kybern.linux import mounts, namespaces, processes, tty
from kybern.runtime.warden import filesystem, identity
from kybern.runtime.warden.loop import Loop
from kybern.runtime.warden.owners import SetupError
from kybern.runtime.warden.setup import (
    Child,
    connect_streams,
    find_the_cgroup,
    forget_the_warden,
    know_the_user,
    make_working_directory,
    report_ready,
    take,
    wait_for_leave,
)

CGROUPS = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["ro", "nosuid", "noexec", "nodev", "relatime"],
}
OCI_VERSION = "1.0.2"  # nothing newer is used, and older runtimes refuse what is newer than they are
VARIABLES = {"PATH": identity.DEFAULT_PATH}


def start(child: Child) -> NoReturn:
    take(CONTAINER_STEPS, child)


def start_another(child: Child) -> NoReturn:
    take(EXEC_STEPS, child)


def mount_bundle(child: Child) -> None:
    """What the machine mounts later is seen here, what is mounted here is not seen there."""
    namespaces.unshare(namespaces.NEWNS)
    mounts.set_propagation("/", mounts.SLAVE)
    for path in child.spec["handler"]["hides"]:
        mounts.unmount(path)
    images = filesystem.open_images(child.spec, child.staging, child.owners)
    child.root = filesystem.mount_root(child.rootfs, child.staging, child.owners)[0]
    for position, made in images.items():
        path = image_path(bundle_of(child), position)
        os.makedirs(path, 0o700, exist_ok=True)
        mounts.attach_at(made, path)


def image_path(bundle: str, position: int) -> str:
    """Where an image lies that is mounted as a volume: by its place among the spec's mounts."""
    return f"{bundle}/images/{position}"


def write_bundle(child: Child) -> None:
    bundle = bundle_of(child)
    os.makedirs(bundle, 0o700, exist_ok=True)
    _write(f"{bundle}/config.json", runtime_spec(child.spec, child.user, child.staging, bundle))


def write_process(child: Child) -> None:
    """One more process: with the user that the container's first one was found to be."""
    uid, gid, groups = child.spec["handler"]["user"]
    child.user = identity.User(uid, gid, tuple(groups), "/")
    _write(process_file(child), process_of(child.spec["process"], child.user))


def open_terminal(child: Child) -> None:
    """A terminal of the machine: the runtime has one of the container's beside it and passes between the two."""
    if not child.process.get("terminal"):
        report_ready(child)
        return
    master, slave = pty.openpty()
    tty.make_controlling(slave)
    child.stdio = (slave, slave, slave)
    report_ready(child, [master])
    os.close(master)


def become_runtime(child: Child) -> None:
    handler = child.spec["handler"]
    log = ("--log", log_of(handler), "--log-format", "json")
    _exec(handler, *log, *handler["flags"], "run", "--bundle", bundle_of(child), handler["id"])


def become_exec(child: Child) -> None:
    handler = child.spec["handler"]
    _exec(handler, *handler["flags"], "exec", "--process", process_file(child), handler["id"])


def _exec(handler: Mapping[str, Any], *arguments: str) -> None:
    processes.close_on_exec_from(3)
    try:
        os.execve(handler["path"], [handler["path"], "--root", handler["root"], *arguments], VARIABLES)
    except OSError as error:
        raise SetupError(f"cannot run {handler['path']}: {error.strerror}") from None


def bundle_of(child: Child) -> str:
    return f"{os.path.dirname(child.staging)}/bundle"


def log_of(handler: Mapping[str, Any]) -> str:
    return f"{handler['root']}/{handler['id']}.log"


def process_file(child: Child) -> str:
    return f"{child.spec['handler']['root']}/process-{os.getpid()}.json"


def _write(path: str, value: Mapping[str, Any]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as opened:
        json.dump(value, opened)


def plain_mount(mount: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """A volume that is an image is one of directories, once it is mounted at `path`."""
    if mount["type"] != "image":
        return mount
    return {
        "destination": mount["destination"],
        "type": "bind",
        "source": path,
        "options": ["rbind", *mount["options"]],
    }


def runtime_spec(spec: Mapping[str, Any], user: identity.User, root: str, bundle: str) -> dict[str, Any]:
    """The warden's spec as plain OCI. SetupError for what only the warden can do."""
    if spec["linux"].get("uidMappings"):
        raise SetupError("user namespaces are not supported by this runtime handler")
    linux = dict(spec["linux"])
    group = linux.pop("cgroupsPath", "")
    if group:
        linux["cgroupsPath"] = f"{group}/oci"
    found = {name: value for name, value in spec.items() if name != "handler"}
    return found | {
        "ociVersion": OCI_VERSION,
        "root": {**spec["root"], "path": root},
        "process": process_of(spec["process"], user),
        "mounts": [
            *(plain_mount(mount, image_path(bundle, position)) for position, mount in enumerate(spec["mounts"])),
            *((CGROUPS,) if spec["handler"]["cgroups"] else ()),
        ],
        "linux": {name: value for name, value in linux.items() if value is not None},
    }


def process_of(process: Mapping[str, Any], user: identity.User) -> dict[str, Any]:
    """How soon the kernel ends it when memory runs out is what this process has got of what was wanted: a runtime gives up
    where it gets less."""
    variables = identity.environment(process, user)
    found = {name: value for name, value in process.items() if value != ""}  # an empty profile is none at all
    return found | {
        "oomScoreAdj": processes.oom_score_adj(),
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "env": [f"{name}={value}" for name, value in variables.items()],
    }


def send_signal(loop: Loop, handler: Mapping[str, Any], number: int) -> None:
    """Through the runtime, where it does not pass signals on that it gets itself."""
    command = [handler["path"], "--root", handler["root"], *handler["flags"], "kill", handler["id"], str(number)]
    pid = os.posix_spawn(handler["path"], command, VARIABLES)
    pidfd = os.pidfd_open(pid)

    def over() -> None:
        loop.forget(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)

    loop.watch(pidfd, over)


def kill_exec(pid: int, pidfd: int) -> None:
    """A runtime that is killed passes nothing on: what it started goes first. (gVisor's processes are out of reach.)"""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as opened:
            started = [int(each) for each in opened.read().split()]
    except OSError:
        started = []
    for each in started:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass
    processes.kill(pidfd)


def failure_of(handler: Mapping[str, Any]) -> str:
    """What the runtime says went wrong, in its log; empty when it says nothing."""
    try:
        with open(log_of(handler), encoding="utf-8", errors="replace") as opened:
            lines = opened.read(1 << 16).splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg", ""))
    return ""


CONTAINER_STEPS: tuple[Callable[[Child], None], ...] = (
    forget_the_warden,
    find_the_cgroup,
    mount_bundle,
    know_the_user,
    make_working_directory,
    write_bundle,
    open_terminal,
    wait_for_leave,
    connect_streams,
    become_runtime,
)
EXEC_STEPS: tuple[Callable[[Child], None], ...] = (
    forget_the_warden,
    find_the_cgroup,
    write_process,
    open_terminal,
    wait_for_leave,
    connect_streams,
    become_exec,
)
