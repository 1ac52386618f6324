"""Behaviour, recorded: a script drives a simulated cluster, and what it prints is compared with what it printed before.

    # A comment says what is shown.
    nodes n1 n2
    create deployment web replicas=2
    settle
    pods
    ----
    web-1  Running  n1
    web-2  Running  n2

Blocks are separated by empty lines; each ends with `----` and the output of its commands. Generated names are replaced by
numbers in order of appearance, so nothing that chance decides is recorded.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kybern.api.apps_v1 import ReplicaSet
from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Pod
from kybern.api.errors import ApiError
from kybern.api.resource_v1 import ResourceClaim
from kybern.testing.cluster import Cluster, running
from kybern.testing.commands import COMMANDS

RULE = "----"
UNORDERED = ("endpoint_states", "hints", "pods", "replicasets")  # their order is chance
REFUSED = re.compile(r'pods "([^"]+)-[a-z0-9]{5}" is forbidden')  # a pod that never was has no alias
GENERATED = re.compile(r"^(.*?)-[a-z0-9]{5,10}$")


@dataclass(frozen=True, slots=True)
class Block:
    lines: tuple[str, ...]
    """Comments and commands, as written."""
    expected: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.lines if line.strip() and not line.startswith("#")]


def parse(text: str) -> list[Block]:
    blocks: list[Block] = []
    lines: list[str] = []
    output: list[str] | None = None
    for line in [*text.splitlines(), ""]:
        if output is not None and line:
            output.append(line)
        elif output is not None:
            blocks.append(Block(tuple(lines), "\n".join(output)))
            lines, output = [], None
        elif line == RULE:
            output = []
        elif line or lines:
            lines.append(line)
    return blocks


class Names:
    """Aliases for names that were generated: `web-6d4cf56db6-x7k2p` is `web-1`, its ReplicaSet `web#1`."""

    def __init__(self, cluster: Cluster) -> None:
        self.aliases: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        for of, mark in ((ReplicaSet, "#"), (Job, "#"), (ResourceClaim, "#"), (Pod, "-")):
            cluster.view.watch_kind(of)
            cluster.view.on_change(of, partial(self._note, mark))

    def _note(self, mark: str, old: Any, obj: Any) -> None:
        if obj is None:
            return
        name, owner = obj.metadata.name, next(iter(obj.metadata.owner_references or ()), None)
        found = GENERATED.match(name)
        if owner is None or found is None or owner.kind == "StatefulSet" or name in self.aliases:
            return
        stem = self.aliases.get(found[1], found[1]).partition("#")[0] + mark
        self._counts[stem] = self._counts.get(stem, 0) + 1
        self.aliases[name] = f"{stem}{self._counts[stem]}"

    def shortened(self, text: str) -> str:
        for name in sorted(self.aliases, key=len, reverse=True):
            text = text.replace(name, self.aliases[name])
        return REFUSED.sub(r'pods "\1-?" is forbidden', text)

    def full(self, text: str) -> str:
        """In commands, an alias stands for the name."""
        return next((name for name, alias in self.aliases.items() if alias == text), text)


async def play(blocks: Sequence[Block], seed: int = 1) -> list[str]:
    """The output of each block."""
    nodes, *_ = [shlex.split(command)[1:] for block in blocks for command in block.commands][:1] or [["n1"]]
    async with running(nodes, seed=seed) as cluster:
        names = Names(cluster)
        await cluster.settle()
        return [await play_block(block, cluster, names) for block in blocks]


async def play_block(block: Block, cluster: Cluster, names: Names) -> str:
    printed: list[str] = []
    for command in block.commands:
        verb, *words = shlex.split(command)
        if verb == "nodes":
            continue
        words = ["/".join(map(names.full, word.split("/"))) for word in words]
        try:
            output = await COMMANDS[verb](cluster, words)
        except ApiError as error:
            output = [f"error: {error.message}"]
        shown = [names.shortened(line).rstrip() for line in output]
        printed += sorted(shown, key=by_number) if verb in UNORDERED else shown
    return "\n".join(printed) or "ok"


def by_number(line: str) -> list[tuple[int, str]]:
    """`web-10` after `web-9`."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", line)]


def rewritten(blocks: Sequence[Block], outputs: Sequence[str]) -> str:
    """The script, with these outputs as the expected ones."""
    parts = ["\n".join([*block.lines, RULE, output]) for block, output in zip(blocks, outputs, strict=True)]
    return "\n\n".join(parts) + "\n"
