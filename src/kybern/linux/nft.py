"""nftables by its own tool: one text, one transaction. Either all of it holds or nothing changed."""

import os
import subprocess

from kybern.linux import netns

BINARIES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
APPLY_SECONDS = 30.0


class RulesRefused(Exception):
    """nft said no; the message is its own."""


def binary() -> str | None:
    return next((path for path in BINARIES if os.access(path, os.X_OK)), None)


def apply(text: str, netns_path: str | None = None) -> None:
    """Load a ruleset, in this network namespace or another."""
    _run(["-f", "-"], text, netns_path)


def listing(family: str, table: str, netns_path: str | None = None) -> str:
    """The rules of one table as nft prints them; empty when it does not exist."""
    try:
        return _run(["list", "table", family, table], "", netns_path)
    except RulesRefused:
        return ""


def everything() -> str:
    """All tables, without what is in their sets and maps, as nft prints them; empty when it cannot be asked."""
    try:
        return _run(["-t", "list", "ruleset"], "", None)
    except RulesRefused:
        return ""


def delete_table(family: str, table: str, netns_path: str | None = None) -> None:
    """Remove one table; nothing when it does not exist."""
    apply(f"add table {family} {table}\ndelete table {family} {table}\n", netns_path)


def _run(arguments: list[str], text: str, netns_path: str | None) -> str:
    found = binary()
    if found is None:
        raise RulesRefused("nft is not installed")
    try:
        with netns.inside(netns_path):
            done = subprocess.run(
                [found, *arguments],
                input=text.encode(),
                capture_output=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
                timeout=APPLY_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise RulesRefused(f"nft did not finish in {APPLY_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise RulesRefused(done.stderr.decode(errors="replace").strip() or f"nft ended with {done.returncode}")
    return done.stdout.decode(errors="replace")
