"""What a cluster could leave behind on a machine, as sets of names: two of them are equal when nothing is left."""

import json
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

    def beyond(self, before: "Inventory", *names: str) -> dict[str, list[str]]:
        """What is here now, was not before, and carries one of the names.

        A pod's own link carries none, so all new ones count as long as there is no other cluster's bridge here.
        """
        new = {field.name: getattr(self, field.name) - getattr(before, field.name) for field in fields(self)}
        alone = not any(link.startswith("kyb-") for link in self.links)
        left = {
            kind: sorted(x for x in found if any(name in x for name in names) or (alone and x.startswith("veth")))
            for kind, found in new.items()
        }
        return {kind: found for kind, found in left.items() if found}


def look() -> Inventory:
    return Inventory(
        processes=processes(),
        links=frozenset(link["ifname"] for link in json.loads(output("ip", "-j", "link"))),
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        tables=frozenset(output("nft", "list", "tables").splitlines()),
        cgroups=frozenset(str(p) for p in Path("/sys/fs/cgroup").glob("**/kybern*") if p.is_dir()),
        run_entries=frozenset(str(path) for path in Path("/run/kybern").glob("*")),
    )


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
