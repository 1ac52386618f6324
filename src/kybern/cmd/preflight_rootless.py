"""What an ordinary user's cluster needs beyond a kernel and nft: namespaces of its own, ids to map, a way out, cgroups.

Whether the namespaces can be had is tried, since no setting of the machine tells all of it; why not follows from what was
refused and from what the machine says of itself.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from kybern.cmd.exits import wait_for
from kybern.linux import delegation, mounts, processes, user_namespace
from kybern.linux.privilege import may_map_ids
from kybern.linux.uplink import TUN, available

SYSCTLS = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "28633"),
}
"""Name → the value that forbids user namespaces, and one that allows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprivileged:
    """What matters here about a user who is not root of the machine."""

    user: str
    maps_ids: bool
    """By itself, as root of a container may."""
    programs: frozenset[str] = frozenset({"newuidmap", "newgidmap"})
    ids: int = user_namespace.IDS_WANTED
    """How many further ones the user may map."""
    forbidding: frozenset[str] = frozenset()
    """The names among SYSCTLS that forbid it."""
    filtered: bool = False
    """A seccomp filter is on this process, as a container's."""
    refused: str = ""
    """The step that failed when it was tried, and why: `user namespace: Operation not permitted`."""
    uplink: str = "pasta"
    tun: bool = True
    unlimited: str = ""
    """Why limits are not enforced; empty when they are."""


def obstacles(found: Unprivileged, debian: bool) -> Iterator[tuple[str, str]]:
    """(what is missing, the command that mends it), where containers cannot run without it."""
    for name in sorted(found.forbidding):
        forbids, allows = SYSCTLS[name]
        yield f"{name} is {forbids}: users may not make user namespaces", f"sudo sysctl -w {name}={allows}"
    if not found.maps_ids:
        missing = sorted({"newuidmap", "newgidmap"} - found.programs)
        if missing:
            fix = "sudo apt-get install -y uidmap" if debian else "install the package shadow-utils or uidmap"
            yield (
                f"without root of the machine, the programs `newuidmap` and `newgidmap` are needed: {' and '.join(missing)} missing",
                fix,
            )
        if found.ids < user_namespace.IDS_WANTED:
            yield (
                f"/etc/subuid and /etc/subgid give {found.user} {found.ids or 'no'} ids of its own, "
                f"{user_namespace.IDS_WANTED} are needed",
                f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {found.user}",
            )
        if missing or found.ids < user_namespace.IDS_WANTED:
            return
    if found.refused and not found.forbidding:
        yield f"without root of the machine, containers need namespaces of their own: {found.refused}", advice(found)


def advice(found: Unprivileged) -> str:
    step = found.refused.partition(":")[0]
    if step in ("newuidmap", "newgidmap"):
        return f"sudo chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap, and look into /etc/subuid and /etc/subgid for {found.user}"
    if step in ("proc", "sysfs"):
        return "in a container: start it with --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked)"
    if step == "layers":
        return "kybern up --data-dir DIRECTORY, on a disk of this machine (in a container: on a volume)"
    if step == "overlay":
        return "use a kernel of 5.11 or newer"
    if found.filtered:
        return "in a container: start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    return "sudo kybern up"


def shortcomings(found: Unprivileged, debian: bool) -> Iterator[tuple[str, str]]:
    """What a cluster does without."""
    if not found.uplink:
        fix = "sudo apt-get install -y passt" if debian else "install the package passt or slirp4netns"
        yield (
            "no `pasta` or `slirp4netns`: the cluster reaches itself and this machine's ports only, and pulls no images",
            fix,
        )
    elif not found.tun:
        yield (
            f"{TUN} cannot be opened, so {found.uplink} leads nowhere: no images are pulled",
            "sudo modprobe tun; sudo chmod 666 /dev/net/tun",
        )
    if found.unlimited:
        yield f"limits are not enforced: {found.unlimited}", "systemd-run --user --scope -p Delegate=yes kybern up"


def look(data: Path) -> Unprivileged:
    maps = may_map_ids()
    tables = [user_namespace.wanted_map(table) for table in user_namespace.TABLES]
    ids = min(sum(one.length for one in table[0 if maps else 1 :]) for table in tables)
    return Unprivileged(
        user=user_namespace.user_name(),
        maps_ids=maps,
        programs=frozenset(program for program, _ in user_namespace.TABLES.values() if shutil.which(program)),
        ids=ids,
        forbidding=frozenset(name for name, (forbids, _) in SYSCTLS.items() if sysctl(name) == forbids),
        filtered="Seccomp:\t2" in read("/proc/self/status"),
        refused=tried(data) if maps or ids >= user_namespace.IDS_WANTED else "",
        uplink=available(),
        tun=os.access(TUN, os.R_OK | os.W_OK),
        unlimited=unlimited(),
    )


def mount_sysfs(data: Path) -> None:
    mounts.filesystem("sysfs", attributes=mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)


def mount_overlay(data: Path) -> None:
    """Of directories in memory: nothing depends on what there is on the disk."""
    mounts.tmpfs(str(data))
    try:
        os.close(mounts.overlay([make_directory(data, name) for name in ("above", "below")]))
    finally:
        mounts.unmount(str(data))


def mount_layer(data: Path) -> None:
    """As a container's: what it writes is on the disk where the cluster's data are."""
    with TemporaryDirectory(prefix=".trial-", dir=data) as place:
        lower, upper, work = (make_directory(Path(place), name) for name in ("lower", "upper", "work"))
        os.close(mounts.overlay([lower], upper, work))


def make_directory(above: Path, name: str) -> str:
    (above / name).mkdir()
    return str(above / name)


TRIALS: Mapping[str, Callable[[Path], None]] = {
    "sysfs": mount_sysfs,
    "overlay": mount_overlay,
    "layers": mount_layer,
}


def tried(data: Path) -> str:
    """Everything that containers need of the kernel, once, in a fork: what was refused, or ""."""
    processes.become_subreaper()
    try:
        pid = user_namespace.make(lambda: try_the_rest(data))
    except user_namespace.Refused as refused:
        return f"{refused.step}: {refused.strerror}"
    failed = wait_for(pid)
    return f"{list(TRIALS)[failed - 1]}: cannot be mounted" if failed else ""


def try_the_rest(data: Path) -> NoReturn:
    for number, trial in enumerate(TRIALS.values(), 1):
        try:
            trial(data)
        except OSError:
            os._exit(number)
    os._exit(0)


def unlimited() -> str:
    directory = delegation.own_group()
    if not directory:
        return "no cgroup (v2) was given to this user"
    lacking = {"cpu", "memory", "pids"} - delegation.controllers(directory)
    if lacking:
        return f"of the cgroup controllers, {', '.join(sorted(lacking))} were not given to this user"
    return "other processes are in this one's cgroup" if delegation.others_in(directory) else ""


def sysctl(name: str) -> str:
    return read(f"/proc/sys/{name.replace('.', '/')}").strip()


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
