"""What a container's first process does between fork and exec, as tables of steps.

Each step takes the same `Child`. Order is meaning: the file system is built while the host is still visible, the root
is changed when nothing more is needed from it, and privileges go last. A step that raises ends the process; the
message travels to the warden over the socket that closes by itself once the program runs.
"""

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kybern.linux import beneath, cgroups, mounts, namespaces, processes, tty
from kybern.runtime.warden import devices, filesystem, identity
from kybern.runtime.warden.owners import Owners, SetupError, host_id_of, owners_of

DEFAULT_SIGNALS = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
UMASK = 0o022
ROOT_USER = identity.User(0, 0, (0,), "/")


@dataclass(slots=True)
class Child:
    spec: Mapping[str, Any]
    rootfs: Mapping[str, Any]
    staging: str
    """An empty directory of the host, for mounting the root on where nobody else sees it."""
    stdio: Sequence[int]
    """Descriptors of the three streams; empty with a terminal."""
    filter_program: bytes | None
    cgroup_views: Sequence[tuple[str, str]]
    warden: socket.socket
    pid_namespace_of: int = -1
    """For a process in a running container: a pidfd of its first process."""
    entrance: Callable[[], list[int]] | None = None
    """Opens the way into its cgroup."""
    doors: list[int] = field(default_factory=list)
    owners: Owners = field(default_factory=Owners)
    root: int = -1
    root_parts: Sequence[int] = ()
    """The mounts that the root consists of."""
    null: int = -1
    sources: dict[int, int] = field(default_factory=dict)
    user: identity.User = ROOT_USER

    @property
    def process(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.spec["process"]
        return found


def start(child: Child) -> NoReturn:
    """The first process of a container."""
    take(CONTAINER_STEPS, child)


def start_another(child: Child) -> NoReturn:
    """One more process in a running container."""
    take(EXEC_STEPS, child)


def take(steps: Sequence[Callable[[Child], None]], child: Child) -> NoReturn:
    """One step after the other; none of them returns into the warden's own code."""
    code = 128
    try:
        for step in steps:
            step(child)
    except identity.CannotRun as error:
        code = error.code
        _report(child.warden, {"error": str(error), "code": code})
    except SetupError as error:
        _report(child.warden, {"error": str(error), "code": code})
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _report(child.warden, {"error": f"{(error.strerror or str(error)).lower()}{where}", "code": code})
    except BaseException as error:  # noqa: BLE001 - nothing may leave this function into the warden's own code
        _report(child.warden, {"error": f"{type(error).__name__}: {error}", "code": code})
    finally:
        os._exit(code)


def _report(warden: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    try:
        socket.send_fds(warden, [json.dumps(message).encode()], list(descriptors))
    except OSError:
        pass  # the warden is gone: there is nobody to tell


# The steps


def forget_the_warden(child: Child) -> None:
    """Above all its sockets: whoever waits for one of them to close must not wait for this process."""
    gc.disable()  # objects whose descriptors are closed here must not close them again
    processes.set_dumpable(False)
    signal.set_wakeup_fd(-1)
    needed = {0, 1, 2, *child.stdio, child.warden.fileno(), child.pid_namespace_of}
    processes.close_all_but({descriptor for descriptor in needed if descriptor >= 0})
    for number in DEFAULT_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFAULT_SIGNALS)
    os.setsid()
    processes.set_oom_score_adj(int(child.process.get("oomScoreAdj") or 0))


def find_the_cgroup(child: Child) -> None:
    """While its path is seen."""
    if child.entrance is not None:
        child.doors = child.entrance()


def enter_namespaces(child: Child) -> None:
    child.owners = owners_of(child.spec)
    wanted = {entry["type"]: entry.get("path", "") for entry in child.spec["linux"]["namespaces"]}
    new = 0
    for name, kind in namespaces.IN_ORDER.items():
        if name in ("pid", "cgroup", "user") or name not in wanted:
            continue  # forked into the first; not in its cgroup yet; and root of the machine as long as it builds
        if wanted[name]:
            opened = os.open(wanted[name], os.O_RDONLY | os.O_CLOEXEC)
            namespaces.setns(opened, kind)
            os.close(opened)
        else:
            new |= kind
    namespaces.unshare(new)
    if child.spec.get("hostname") and new & namespaces.NEWUTS:
        namespaces.sethostname(child.spec["hostname"])


def build_root(child: Child) -> None:
    os.umask(0)  # what is made here has exactly the mode it is to have
    child.null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    views = [(name, path) for name, path in child.cgroup_views]
    child.sources = filesystem.open_sources(child.spec, child.owners)  # before the next line: some are to stay shared
    mounts.set_propagation("/", mounts.PRIVATE)
    child.sources |= filesystem.open_images(child.spec, child.staging, child.owners)
    child.root_parts = filesystem.mount_root(child.rootfs, child.staging, child.owners)
    child.root = child.root_parts[0]
    child.owners.make_theirs()
    filesystem.mount_all(child.spec, child.root, child.sources)
    devices.make_devices(child.spec, child.root, child.owners)
    filesystem.mount_cgroups(child.root, views)
    filesystem.hide_paths(child.spec, child.root, child.null)


def know_the_user(child: Child) -> None:
    child.user = identity.resolve_user(child.root, child.process["user"])


def make_working_directory(child: Child) -> None:
    try:
        os.close(beneath.make_directories(child.root, child.process.get("cwd") or "/"))
    except OSError as error:
        raise SetupError(f"mkdir {child.process.get('cwd')}: {error.strerror}") from None


def open_terminal(child: Child) -> None:
    """A terminal of the container's own devpts; the warden gets its master with the report."""
    if not child.process.get("terminal"):
        report_ready(child)
        return
    master, slave, _ = tty.open_pair(child.root)
    os.fchown(slave, host_id_of(child.spec) + child.user.uid, -1)
    if child.pid_namespace_of < 0:
        console = beneath.make_like(child.root, "dev/console", directory=False)
        made = mounts.clone(slave)
        mounts.attach(made, console)
        os.close(made)
        os.close(console)
    tty.make_controlling(slave)
    child.stdio = (slave, slave, slave)
    report_ready(child, [master])
    os.close(master)


def report_ready(child: Child, descriptors: Sequence[int] = ()) -> None:
    user = [child.user.uid, child.user.gid, list(child.user.groups)]
    _report(child.warden, {"ready": True, "user": user}, descriptors)


def wait_for_leave(child: Child) -> None:
    """The warden writes down who this is; without a warden it must not run, and from here on it is under its limits."""
    if child.warden.recv(1) != b"g":
        os._exit(1)
    cgroups.enter(child.doors)


def change_root(child: Child) -> None:
    """Everything of the host is out of reach from here on."""
    if any(entry["type"] == "cgroup" for entry in child.spec["linux"]["namespaces"]):
        namespaces.unshare(namespaces.NEWCGROUP)
    if child.spec["root"].get("readonly"):
        filesystem.make_readonly(child.root_parts)
    mounts.pivot_root(child.root)


def connect_streams(child: Child) -> None:
    os.umask(UMASK)
    for number, descriptor in enumerate(child.stdio):
        os.dup2(descriptor, number)
    if not child.process.get("terminal"):
        for number in range(3):
            try:
                os.fchown(number, host_id_of(child.spec) + child.user.uid, -1)
            except OSError:
                pass  # a stream that has no owner to change
    sys.stdin = sys.stdout = sys.stderr = None


def limit_resources(child: Child) -> None:
    limits = {entry["type"]: (entry["soft"], entry["hard"]) for entry in child.process.get("rlimits") or ()}
    processes.set_limits(limits)


def run_program(child: Child) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    identity_of = child.process
    variables = identity.environment(identity_of, child.user)
    identity.confine(identity_of.get("apparmorProfile") or "")
    enter_user_namespace(child)
    identity.become(identity_of, child.user, child.filter_program)
    identity.enter_directory(root, identity_of.get("cwd") or "/")
    os.close(root)
    processes.close_on_exec_from(3)
    identity.run(identity_of["args"], variables)


def enter_user_namespace(child: Child) -> None:
    """Its root from here on, and nobody's outside. Last, since the machine's root is needed for everything before."""
    if child.pid_namespace_of >= 0 and child.spec["linux"].get("uidMappings"):
        namespaces.setns(child.pid_namespace_of, namespaces.NEWUSER)
    elif child.owners.mapped:
        namespaces.setns(child.owners.namespace, namespaces.NEWUSER)


def join_container(child: Child) -> None:
    """All namespaces of a running container at once, by its first process' pidfd; and its very root, which is not the
    namespace's own where the warden lives in a chroot."""
    child.root = processes.open_root(child.pid_namespace_of)
    kinds = namespaces.NEWNS | namespaces.NEWIPC | namespaces.NEWUTS | namespaces.NEWNET | namespaces.NEWCGROUP
    namespaces.setns(child.pid_namespace_of, kinds)
    os.fchdir(child.root)
    os.chroot(".")


CONTAINER_STEPS: tuple[Callable[[Child], None], ...] = (
    forget_the_warden,
    find_the_cgroup,
    enter_namespaces,
    build_root,
    know_the_user,
    make_working_directory,
    open_terminal,
    wait_for_leave,
    change_root,
    connect_streams,
    limit_resources,
    run_program,
)
EXEC_STEPS: tuple[Callable[[Child], None], ...] = (
    forget_the_warden,
    find_the_cgroup,
    join_container,
    know_the_user,
    open_terminal,
    wait_for_leave,
    connect_streams,
    limit_resources,
    run_program,
)
