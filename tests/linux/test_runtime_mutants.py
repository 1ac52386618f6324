"""Goal: it is the defence that stops the attack. Method: each attack twice, against the warden as it is, which must refuse
it, and against one without the defence, where it must get through: else the attack proves nothing.

The rows are those of the reliability catalogue. Both wardens have made a mistake that some of the defences are for: they
hold a descriptor that their children would inherit.
"""

import ctypes
import json
import os
import shutil
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tarfile import TarInfo
from typing import Any

import pytest
from chroots import in_a_chroot
from exchange import RACES, exchanging
from oci_images import BUSYBOX, archive, build, entry, link, oci_archive
from runtime_fixtures import Pod, pod

from kybern.kubelet.observed import MESSAGE_PATH, POD_UID, RESTART_COUNT, by_pod
from kybern.linux import beneath, mounts, namespaces, processes
from kybern.runtime.cri import ContainerConfig, Mount, NamespaceMode, NamespaceOptions, RuntimeFault, SecurityContext
from kybern.runtime.images.host import NAME as HOST
from kybern.runtime.native import NativeRuntime
from kybern.runtime.warden import filesystem, identity

pytestmark = pytest.mark.linux

PLAIN = SecurityContext()
HOST_PIDS = SecurityContext(namespaces=NamespaceOptions(pid=NamespaceMode.NODE))
LEAKED = "import os; os.dup2(os.open('/', os.O_PATH | os.O_DIRECTORY), 90)  # an inheritable descriptor of the machine"
KEEPING_DESCRIPTORS = """
from kybern.linux import processes
processes.close_all_but = processes.close_on_exec_from = lambda kept: None
"""
UNFILTERED = """
from kybern.runtime.warden import process
process.filter_of = lambda profile: None
"""


@dataclass(frozen=True)
class Attack:
    script: str
    """Says `through` where it got through; `OUTSIDE` is a directory of the machine."""
    without: str
    """Takes the defence out of a warden."""
    cwd: str = ""
    security: SecurityContext = PLAIN
    image: str = ""
    """Another one than busybox."""
    mounts: tuple[Mount, ...] = ()
    """Further ones; `VOLUME` is a volume whose owner put links to the machine there."""
    tty: bool = False


EVERY_CAPABILITY = (
    UNFILTERED
    + """
from kybern.linux import capabilities
capabilities.limit_bounding = capabilities.set_effective = lambda wanted: None
"""
)
FOLLOWING_LINKS = """
from kybern.linux import beneath
from kybern.runtime.warden import filesystem
opened = beneath.open_at
beneath.open_at = lambda root, path, flags, *, mode=0, resolve=0: opened(root, path.strip("/") or ".", flags, mode=mode, resolve=0)
filesystem._plain_directory = lambda root, path: beneath.make_like(root, path, directory=True)
"""

NULL_OF_THE_CONTAINER = """
import os
from kybern.runtime.warden import filesystem
hide = filesystem.hide_paths
filesystem.hide_paths = lambda spec, root, null: hide(spec, root, os.open(f"/proc/self/fd/{root}/dev/null", os.O_PATH))
"""
OPEN_BY_HANDLE = """
import ctypes, os
handle = ctypes.create_string_buffer(bytes.fromhex('HANDLE'))
found = ctypes.CDLL(None).open_by_handle_at(os.open('/volume', os.O_RDONLY), handle, os.O_RDONLY)
print('through' if found >= 0 and os.path.exists(f'/proc/self/fd/{found}/secret') else 'refused')
"""
ATTACKS = {
    "E02 a working directory that is a descriptor of the machine": Attack(
        "[ -e .OUTSIDE/secret ] && echo through",
        KEEPING_DESCRIPTORS
        + """
import os
from kybern.runtime.warden import identity, setup
identity.enter_directory = lambda root, path: os.chdir(path)
identity._refusal = lambda path: None
setup.CONTAINER_STEPS = tuple(step for step in setup.CONTAINER_STEPS if step is not setup.make_working_directory)
""",
        cwd="/proc/self/fd/90",
    ),
    "E03 a descriptor that the warden forgot to close": Attack(
        "[ -e /proc/self/fd/90OUTSIDE/secret ] && echo through", KEEPING_DESCRIPTORS
    ),
    "E05 what masks a path is a link of the container's": Attack(
        "cat /proc/keys", NULL_OF_THE_CONTAINER, mounts=(Mount(container_path="/dev", host_path="VOLUME"),)
    ),
    "E06 the console is a link of the container's": Attack(
        "[ -c /dev/console ] || echo through",  # what was to be mounted inside is somewhere else
        FOLLOWING_LINKS,
        mounts=(
            Mount(container_path="/dev", host_path="VOLUME"),
            Mount(container_path="/dev/pts", host_path="/dev/pts"),
        ),
        tty=True,
    ),
    "E10 a mount target that a link in a volume leads out of the container": Attack(
        "[ -e /volume/out/made ] || echo through",  # what was to be made inside is somewhere else
        FOLLOWING_LINKS,
    ),
    "E14 a volume that is only to be read": Attack(
        "touch /readonly/made && echo through",
        """
from kybern.runtime.warden import filesystem
filesystem.ATTRIBUTES = {**filesystem.ATTRIBUTES, "ro": 0}
""",
    ),
    "E17 a volume that is only to be read, mounted anew": Attack(
        "mount -o remount,rw,bind /readonly && touch /readonly/made && echo through", EVERY_CAPABILITY
    ),
    "E18 a device of the machine by a node of one's own": Attack(
        "mknod /tmp/fuse c 10 229 && : < /tmp/fuse && echo through",
        """
from kybern.linux import cgroups_v1, cgroups_v2
for one in (cgroups_v1.V1, cgroups_v2.V2):
    one.allow_devices = lambda self, path, rules: None
""",
    ),
    "E19 the machine's cgroups, by a mount of one's own": Attack(
        "(mount -t cgroup -o memory none /tmp || mount -t cgroup2 none /tmp) 2>&1 && : > /tmp/cgroup.procs && echo through",
        EVERY_CAPABILITY,
    ),
    "E20 a kernel setting of the whole machine": Attack(
        ": >> /proc/sys/kernel/core_pattern && echo through",  # opened, and left as it is
        """
from kybern.runtime.warden import filesystem
filesystem.hide_paths = lambda spec, root, null: None
""",
    ),
    "E21 the processes of the machine": Attack(
        "grep -qs kybern-warden /proc/[0-9]*/comm && echo through",
        """
import os
from kybern.linux import processes
processes.fork_into = lambda namespace, new=False: os.fork()
""",
    ),
    "E22 the files of a process of the machine, in its process ids": Attack(
        f"[ -e /proc/{os.getpid()}/rootOUTSIDE/secret ] && echo through", EVERY_CAPABILITY, security=HOST_PIDS
    ),
    "E23 a user namespace of one's own": Attack("unshare -r true && echo through", UNFILTERED),
    "E24 a file of the machine by its handle": Attack(f'python3 -c "{OPEN_BY_HANDLE}"', EVERY_CAPABILITY, image=HOST),
    "E27 a mount, by a capability that is not among the fourteen": Attack(
        "mount -t tmpfs none /tmp && echo through",
        EVERY_CAPABILITY,
    ),
    "E28 privileges by a program's set-user-id bit": Attack(
        "grep -q 'NoNewPrivs:.0' /proc/self/status && echo through",
        UNFILTERED
        + """
from kybern.linux import processes
processes.set_no_new_privs = lambda: None
""",
        security=SecurityContext(no_new_privs=True),
    ),
    "E37 what a masked path hides": Attack("umount /proc/keys && echo through", EVERY_CAPABILITY),
    "E37 a /proc of one's own over the read-only paths": Attack(
        "mount -t proc none /proc && : >> /proc/sys/kernel/core_pattern && echo through", EVERY_CAPABILITY
    ),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the machine, and a volume with a link to it."""
    made, volume = tmp_path / "outside", tmp_path / "volume"
    made.mkdir()
    (made / "secret").write_text("through\n")
    (volume / "pts").mkdir(parents=True)
    for name, target in (("out", made), ("null", made / "secret"), ("console", made / "secret")):
        (volume / name).symlink_to(target)
    return made


def handle_of(path: Path) -> str:
    """What open_by_handle_at(2) knows it by: guessed by an attacker, who has all the time."""
    handle, mount = ctypes.create_string_buffer(struct.pack("ii", 128, 0), 8 + 128), ctypes.c_int()
    assert ctypes.CDLL(None).name_to_handle_at(-100, str(path).encode(), handle, ctypes.byref(mount), 0) == 0
    return bytes(handle)[: 8 + struct.unpack("ii", handle[:8])[0]].hex()


async def gets_through(web: Pod, attack: Attack, outside: Path) -> bool:
    volume = str(outside.parent / "volume")
    mounts = (
        Mount(container_path="/volume", host_path=volume),
        Mount(container_path="/volume/out/made", host_path=volume),
        Mount(container_path="/readonly", host_path=volume, readonly=True),
    )
    mounts += tuple(replace(mount, host_path=mount.host_path.replace("VOLUME", volume)) for mount in attack.mounts)
    script = attack.script.replace("OUTSIDE", str(outside)).replace("HANDLE", handle_of(outside))
    at = replace(web, image=attack.image or web.image)
    try:
        said = await at.shell(script, mounts=mounts, working_dir=attack.cwd, security=attack.security, tty=attack.tty)
        return "through" in "\n".join(said).split()
    except RuntimeFault:
        return False


async def test_the_warden_refuses(outside: Path) -> None:
    async with pod(outside.parent, changes=LEAKED) as web:
        assert [row for row, attack in ATTACKS.items() if await gets_through(web, attack, outside)] == []


@pytest.mark.parametrize("row", ATTACKS)
async def test_without_its_defence_the_attack_gets_through(row: str, outside: Path) -> None:
    if row.startswith("E23") and in_a_chroot():
        pytest.skip("nobody makes a user namespace in a chroot")
    async with pod(outside.parent, changes=f"{LEAKED}\n{ATTACKS[row].without}") as web:
        assert await gets_through(web, ATTACKS[row], outside)


@dataclass(frozen=True)
class Image:
    """One that means harm: where it says `/OUTSIDE`, that is a directory of the machine."""

    link: tuple[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)
    security: SecurityContext = PLAIN
    script: str = "echo through"
    """For the most part it is enough that it runs at all."""


IMAGES = {
    "E08 /dev leads to the machine": Image(("dev", "/OUTSIDE")),
    "E09 /proc leads to the machine": Image(("proc", "/OUTSIDE")),
    "E09 /sys leads to the machine": Image(("sys", "/OUTSIDE")),
    "E11 /etc/resolv.conf leads to the machine": Image(
        ("etc/resolv.conf", "/OUTSIDE/secret"),
        script="[ -e /etc/resolv.conf ] || echo through",  # what was to be mounted inside is somewhere else
    ),
    "E31 a VOLUME that goes upwards": Image(
        config={"Volumes": {"/tmp/OUTSIDE/made": {}}, "WorkingDir": "/"},
        link=("tmp/OUTSIDE", "/OUTSIDE"),
        security=SecurityContext(readonly_rootfs=True),
        script="true",
    ),
    "E39 /etc/passwd leads to the machine": Image(("etc/passwd", "/OUTSIDE/passwd"), {"User": "stranger"}),
}


async def reaches_the_machine(web: Pod, image: Image, outside: Path) -> bool:
    """It says so, or something was made there. The user `stranger` is written down only there."""
    (outside / "passwd").write_text("stranger:x:0:0::/:/bin/sh\n")

    def meant(text: str) -> str:
        return text.replace("/OUTSIDE", str(outside))

    config = json.loads(meant(json.dumps({"Env": ["PATH=/bin"], **image.config})))
    base = [
        entry("bin"),
        entry("etc"),
        entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
        link("bin/sh", "busybox"),
    ]
    path, target = map(meant, image.link)
    built = build([archive([*base, *above(path), link(path, target)])], config)
    (outside.parent / "image.tar").write_bytes(oci_archive(built, "evil:1"))
    (name,) = await web.runtime.images.load(outside.parent / "image.tar")
    found = await web.runtime.image_status(name)
    try:
        said = await replace(web, image=found.id).shell(image.script, security=image.security)
    except RuntimeFault:
        said = []
    return (outside / "made").exists() or "through" in said


def above(path: str) -> list[tuple[TarInfo, bytes]]:
    parts = path.split("/")[:-1]
    return [entry("/".join(parts[:depth])) for depth in range(1, len(parts) + 1)]


@pytest.mark.parametrize("row", IMAGES)
async def test_an_image_reaches_the_machine_only_without_the_defence(row: str, outside: Path) -> None:
    async with pod(outside.parent) as web:
        assert not await reaches_the_machine(web, IMAGES[row], outside)
    for directory in ("run", "data"):
        shutil.rmtree(outside.parent / directory)
    async with pod(outside.parent, changes=FOLLOWING_LINKS) as web:
        assert await reaches_the_machine(web, IMAGES[row], outside)


async def test_labels_of_an_image_make_its_container_another_pods_only_where_they_are_believed(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E30, CVE-2026-53488: whose a container is, how often it started and where its message is, the kubelet says alone."""
    evil = {POD_UID: "victim", RESTART_COUNT: "9", MESSAGE_PATH: str(outside / "secret")}
    built = build([archive([entry("bin")])], {"Labels": evil, "Cmd": ["x"]})
    (outside.parent / "image.tar").write_bytes(oci_archive(built, "evil:1"))
    create = NativeRuntime.create_container

    async def believing(self: NativeRuntime, sandbox_id: str, config: ContainerConfig) -> str:
        return await create(self, sandbox_id, replace(config, labels={**config.labels, **evil}, annotations=evil))

    async with pod(outside.parent) as web:
        (name,) = await web.runtime.images.load(outside.parent / "image.tar")
        for is_mutant in (False, True):
            if is_mutant:
                monkeypatch.setattr(NativeRuntime, "create_container", believing)
            made = await replace(web, image=name).create("x", labels={POD_UID: "own"})
            status = await web.runtime.container_status(made)
            assert list(by_pod([], [status])) == ["victim" if is_mutant else "own"]
            assert (status.annotations == {}) is not is_mutant


def test_the_program_that_the_warden_runs_from_is_overwritten_only_without_its_seals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E01, CVE-2019-5736: who is started as /proc/self/exe holds it."""

    def overwritten() -> bool:
        copy = processes.sealed_copy("/bin/true")
        try:
            with open(f"/proc/self/fd/{copy}", "r+b", buffering=0) as held:
                held.write(b"#!/evil")
            return os.pread(copy, 7, 0) == b"#!/evil"
        except PermissionError:
            return False
        finally:
            os.close(copy)

    assert not overwritten()
    monkeypatch.setattr(processes, "_SEALS", 0)
    assert overwritten()


REFUSED = "refused"
UNSEEN_MAX = 200 * RACES  # while who swaps has not had his turn


def places_of_a_target_that_is_swapped(root: Path, outside: Path) -> Counter[str]:
    """Where the mount target `/volume/dir` is found while another container swaps it for a link (E04)."""
    volume = root / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to(outside)
    known = {(volume / "dir").stat().st_ino: "inside", outside.stat().st_ino: "outside"}
    opened, found = os.open(root, os.O_PATH | os.O_DIRECTORY), Counter[str]()
    try:
        with exchanging(volume / "dir", volume / "link"):
            while found.total() < RACES or (len(found.keys() - {REFUSED}) < 2 and found.total() < UNSEEN_MAX):
                try:
                    target = filesystem._target(opened, "/volume/dir", opened)
                except FileNotFoundError:  # a link that led nowhere yet when its directory was made
                    found[REFUSED] += 1
                    continue
                found[known.get(os.fstat(target).st_ino, "within")] += 1
                os.close(target)
    finally:
        os.close(opened)
    return found


def test_a_mount_target_that_is_swapped_for_a_link_leads_out_only_without_the_defence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E04, CVE-2021-30465: a link is followed, but as the container would."""
    outside = tmp_path / "outside"
    outside.mkdir()
    found = places_of_a_target_that_is_swapped(tmp_path / "one", outside)
    assert found["inside"] and found["within"] and not found["outside"], found
    opened = beneath.open_at

    def following(root: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
        return opened(root, path.strip("/") or ".", flags, mode=mode, resolve=0)

    monkeypatch.setattr(beneath, "open_at", following)
    assert places_of_a_target_that_is_swapped(tmp_path / "two", outside)["outside"]


def told_to_a_false_proc(proc: Path) -> str:
    """What the setting-up process writes where the container has a volume in place of /proc."""
    told = proc / "thread-self" / "attr" / "exec"
    told.parent.mkdir(parents=True)
    told.touch()
    child = os.fork()
    if not child:
        try:
            namespaces.unshare(namespaces.NEWNS)
            mounts.set_propagation("/", mounts.PRIVATE)
            mounts.bind(str(proc), "/proc")
            identity.confine("profile")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return told.read_text()


def test_a_false_proc_hears_of_the_confinement_only_without_the_defence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E07, CVE-2019-19921: who is told in its place takes the confinement away."""
    assert told_to_a_false_proc(tmp_path / "one") == ""
    monkeypatch.setattr(mounts, "filesystem", lambda fstype: os.open(f"/{fstype}", os.O_PATH | os.O_DIRECTORY))
    assert told_to_a_false_proc(tmp_path / "two") == "exec profile"


CONNECT = """
import socket
names = [line.split()[-1] for line in open('/proc/net/unix') if 'kybern-canary' in line or 'RUN/' in line]
for name in {*names, 'RUN/warden.sock'}:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        try:
            made.connect(name.replace('@', chr(0), 1) if name.startswith('@') else name)
            print('through')
        except OSError:
            pass
"""
LISTENING_FOR_EVERYBODY = """
import socket
canary = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
canary.bind(chr(0) + "kybern-canary")  # abstract: found by whoever is in the same network
canary.listen()
"""


@pytest.mark.parametrize(
    ("changes", "shown", "through"),
    [("", False, False), (LISTENING_FOR_EVERYBODY, False, True), ("", True, True)],
    ids=["as it is", "an abstract socket", "its directory shown"],
)
async def test_a_pod_in_the_machines_network_reaches_the_warden_only_without_the_defence(
    tmp_path: Path, changes: str, shown: bool, through: bool
) -> None:
    """E25, CVE-2020-15257: its sockets have names in a directory, which no container sees."""
    network = NamespaceOptions(network=NamespaceMode.NODE)
    async with pod(tmp_path, changes=changes, namespaces=network) as web:
        run, at = str(web.node.run), replace(web, image=HOST)
        mounted = (Mount(container_path=run, host_path=run),) if shown else ()
        security, script = SecurityContext(namespaces=network), CONNECT.replace("RUN", run)
        said = await at.shell(f'python3 -c "{script}"', security=security, mounts=mounted)
        assert ("through" in said) == through, said
