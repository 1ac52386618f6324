"""nftables by its own tool: one text, one transaction. Either all of it holds or nothing changed."""

import os
import subprocess
from collections.abc import Callable

from kybern.linux import netns

BINARIES = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
APPLY_SECONDS = 30.0


class RulesRefused(Exception):
    """nft said no; the message is its own."""


def binary() -> str | None:
    return next((path for path in BINARIES if os.access(path, os.X_OK)), None)


def apply(text: str, netns_path: str | None = None, began: Callable[[int], object] = int) -> None:
    """Load a ruleset, in this network namespace or another. `began` is told nft's process id before it does anything."""
    _run(["-f", "-"], text, netns_path, began)


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


def _run(arguments: list[str], text: str, netns_path: str | None, began: Callable[[int], object] = int) -> str:
    found = binary()
    if found is None:
        raise RulesRefused("nft is not installed")
    pipe = subprocess.PIPE
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    with netns.inside(netns_path):
        process = subprocess.Popen([found, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    with process:
        began(process.pid)
        try:
            output, errors = process.communicate(text.encode(), APPLY_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise RulesRefused(f"nft did not finish in {APPLY_SECONDS:.0f} s") from error
    if process.returncode != 0:
        raise RulesRefused(errors.decode(errors="replace").strip() or f"nft ended with {process.returncode}")
    return output.decode(errors="replace")
