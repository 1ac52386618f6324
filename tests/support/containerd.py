"""A containerd of the test's own: its root, state, socket and settings in one directory, its pause image imported."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oci_images import busybox, oci_archive

from kybern.linux import mounts

START_SECONDS = 20.0
PAUSE = "kybern.test/pause:1"
WAITING = "trap 'exit 0' TERM; while true; do sleep 1000 & wait; done"
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTINGS = """version = 2
root = "{base}/root"
state = "{base}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{base}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{base}/bin"
conf_dir = "{base}/net.d"
"""


def there() -> bool:
    return all(shutil.which(name, path=PATH) for name in ("containerd", "ctr", "runc"))


@contextmanager
def containerd(base: Path) -> Iterator[str]:
    """Its socket's address. What it starts ends with it, but for containers: those are the test's to remove."""
    for name in ("root", "state", "net.d"):
        (base / name).mkdir(parents=True)
    (base / "config.toml").write_text(SETTINGS.format(base=base, pause=PAUSE))
    (base / "pause.tar").write_bytes(oci_archive(busybox({"Entrypoint": ["sh", "-c", WAITING]}), PAUSE))
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            ["containerd", "--config", str(base / "config.toml")], stdout=log, stderr=log, env={"PATH": PATH}
        )
    try:
        socket = base / "containerd.sock"
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < deadline, (base / "log").read_text()
            time.sleep(0.05)
        imported = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "import"]
        subprocess.run([*imported, str(base / "pause.tar")], check=True, capture_output=True, env={"PATH": PATH})
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()
        mounts.unmount_beneath(str(base))
