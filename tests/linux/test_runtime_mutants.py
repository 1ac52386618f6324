"""Goal: it is the defence that stops the attack. Method: each attack twice, against the warden as it is, which must refuse
it, and against one without the defence, where it must get through: else the attack proves nothing.

The rows are those of the reliability catalogue. Both wardens have made a mistake that some of the defences are for: they
hold a descriptor that their children would inherit.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from chroots import in_a_chroot
from runtime_fixtures import Pod, pod

from kybern.runtime.cri import Mount, RuntimeFault, SecurityContext

pytestmark = pytest.mark.linux

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
    no_new_privs: bool = False


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
        """
from kybern.linux import beneath
opened = beneath.open_at
beneath.open_at = lambda root, path, flags, *, mode=0, resolve=0: opened(root, path.strip("/") or ".", flags, mode=mode, resolve=0)
""",
    ),
    "E18 a device of the machine by a node of one's own": Attack(
        "mknod /tmp/fuse c 10 229 && : < /tmp/fuse && echo through",
        """
from kybern.linux import cgroups_v1, cgroups_v2
for one in (cgroups_v1.V1, cgroups_v2.V2):
    one.allow_devices = lambda self, path, rules: None
""",
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
    "E23 a user namespace of one's own": Attack("unshare -r true && echo through", UNFILTERED),
    "E27 a mount, by a capability that is not among the fourteen": Attack(
        "mount -t tmpfs none /tmp && echo through",
        UNFILTERED
        + """
from kybern.linux import capabilities
capabilities.limit_bounding = capabilities.set_effective = lambda wanted: None
""",
    ),
    "E28 privileges by a program's set-user-id bit": Attack(
        "grep -q 'NoNewPrivs:.0' /proc/self/status && echo through",
        UNFILTERED
        + """
from kybern.linux import processes
processes.set_no_new_privs = lambda: None
""",
        no_new_privs=True,
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
    )
    script = attack.script.replace("OUTSIDE", str(outside))
    security = SecurityContext(no_new_privs=attack.no_new_privs)
    try:
        return "through" in await web.shell(script, mounts=mounts, working_dir=attack.cwd, security=security)
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
