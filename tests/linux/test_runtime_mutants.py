"""Goal: it is the defence that stops the attack. Method: each attack twice, against the warden as it is, which must refuse
it, and against one without the defence, where it must get through: else the attack proves nothing.

The rows are those of the reliability catalogue. Both wardens have made a mistake that some of the defences are for: they
hold a descriptor that their children would inherit.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tarfile import TarInfo
from typing import Any

import pytest
from chroots import in_a_chroot
from oci_images import BUSYBOX, archive, build, entry, link, oci_archive
from runtime_fixtures import Pod, pod

from kybern.linux import processes
from kybern.runtime.cri import Mount, NamespaceMode, NamespaceOptions, RuntimeFault, SecurityContext

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
    made = tmp_path / "outside"
    made.mkdir()
    (made / "secret").touch()
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "out").symlink_to(made)
    return made


async def gets_through(web: Pod, attack: Attack, outside: Path) -> bool:
    volume = str(outside.parent / "volume")
    mounts = (
        Mount(container_path="/volume", host_path=volume),
        Mount(container_path="/volume/out/made", host_path=volume),
        Mount(container_path="/readonly", host_path=volume, readonly=True),
    )
    script = attack.script.replace("OUTSIDE", str(outside))
    try:
        return "through" in await web.shell(script, mounts=mounts, working_dir=attack.cwd, security=attack.security)
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
