"""How packets leave a rootless cluster: a program of the machine that carries them as connections of the user's.

`pasta` (Debian: passt), else `slirp4netns`; without either the cluster reaches itself only. Both run beside the gate, in the
machine's network, and make one link in the cluster's.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from kybern.linux.processes import die_with_parent

PROGRAMS = ("pasta", "slirp4netns")
RESOLVERS = {"pasta": "169.254.1.1", "slirp4netns": "10.0.2.3"}
"""Leads to the machine's own resolver, which may listen on its loopback only."""
TUN = Path("/dev/net/tun")


def available() -> str:
    """The name of the one to take; empty where there is none."""
    return next((name for name in PROGRAMS if shutil.which(name)), "")


def command(name: str, pid: int) -> list[str]:
    """Nothing comes in by it, and the machine's own loopback is not to be had through it."""
    if name == "pasta":
        closed = [word for flag in ("-t", "-u", "-T", "-U") for word in (flag, "none")]
        return ["pasta", "--foreground", "--config-net", "--no-map-gw", "--dns-forward", RESOLVERS[name], *closed,
                str(pid)]  # fmt: skip
    return ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", str(pid), "tap0"]


@dataclass(slots=True)
class Uplink:
    name: str
    log: Path
    note: Path
    """Where its pid is written down, for whoever cleans up after a gate that was killed."""
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self, pid: int) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command(self.name, pid), stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent
            )
        self.note.write_text(str(self.process.pid))

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.note.unlink(missing_ok=True)


def stop_left(note: Path) -> None:
    """One whose gate was killed."""
    try:
        pid = int(note.read_text())
        program = Path(f"/proc/{pid}/comm").read_text().strip()
        if program.startswith((*PROGRAMS, "passt")):
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):
        return
