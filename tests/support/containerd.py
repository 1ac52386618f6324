"""A containerd of the test's own: its root, state, socket and settings in one directory, its images from a registry that
the test runs, its network a loopback in each pod.
"""

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kybern.linux import mounts

START_SECONDS = 20.0
SETTINGS = """version = 2
root = "{base}/root"
state = "{base}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing"]
[grpc]
address = "{base}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
enable_selinux = false
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_bin}"
conf_dir = "{base}/net.d"
"""
LOOPBACK = {"cniVersion": "0.4.0", "name": "lo", "plugins": [{"type": "loopback"}]}


def there() -> bool:
    return shutil.which("containerd") is not None and shutil.which("runc", path="/usr/sbin:/usr/bin") is not None


@asynccontextmanager
async def containerd(base: Path, pause: str, cni_bin: str = "/usr/lib/cni") -> AsyncIterator[str]:
    """The socket's address."""
    for name in ("root", "state", "net.d"):
        (base / name).mkdir(parents=True)
    (base / "config.toml").write_text(SETTINGS.format(base=base, pause=pause, cni_bin=cni_bin))
    if cni_bin == "/usr/lib/cni":
        (base / "net.d" / "10-lo.conflist").write_text(json.dumps(LOOPBACK))
    with (base / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("containerd", "--config", str(base / "config.toml")),
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not (base / "containerd.sock").exists():
                assert process.returncode is None, (base / "log").read_text()
                await asyncio.sleep(0.05)
        yield f"unix://{base}/containerd.sock"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        mounts.unmount_beneath(str(base))
