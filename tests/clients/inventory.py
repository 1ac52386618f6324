"""What there is on a machine that a cluster could have left behind, as sets of names."""

import json
import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Inventory:
    processes: frozenset[str]
    """Command lines that speak of kybern, or whose cgroup does."""
    links: frozenset[str]
    mounts: frozenset[str]
    tables: frozenset[str]
    cgroups: frozenset[str]
    run_entries: frozenset[str]

    def of(self, *names: str) -> dict[str, list[str]]:
        """What carries one of the names: other clusters of the machine, of whatever kind, come and go meanwhile."""
        found = {
            field.name: sorted(each for each in getattr(self, field.name) if any(name in each for name in names))
            for field in fields(self)
        }
        return {kind: each for kind, each in found.items() if each}


def look() -> Inventory:
    return Inventory(
        processes=processes(),
        links=frozenset(link["ifname"] for link in json.loads(output("ip", "-j", "link"))),
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        tables=frozenset(output("nft", "list", "tables").splitlines()),
        cgroups=frozenset(path for path in cgroups("/sys/fs/cgroup") if "/kybern" in path),
        run_entries=frozenset(str(path) for path in Path("/run/kybern").glob("*")),
    )


def cgroups(directory: str) -> list[str]:
    """It and all beneath it; others' come and go while one looks."""
    return [path for path, _, _ in os.walk(directory)]


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def processes() -> frozenset[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (path / "cgroup").read_text()
        except OSError:
            continue  # it ended meanwhile
        if "/kybern-" in groups or "kybern.cmd" in words or "kybern-warden" in words:
            found.add(f"{path.name} {words} {groups}")
    return frozenset(found)
