"""The `kybern` command: a table of commands, each imported only when it is the one asked for."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from kybern.cmd.exits import exit_code

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("kybern.cmd.up", "start the cluster of this machine, or see that it is up"),
    "down": ("kybern.cmd.down", "stop it and leave nothing running; its data stays"),
    "status": ("kybern.cmd.status", "say what runs and whether it is well"),
    "reset": ("kybern.cmd.reset", "stop it and delete its data"),
    "node": ("kybern.cmd.nodes", "the nodes of this machine: add, remove, cut off, slow, kill, heal"),
    "token": ("kybern.cmd.token", "what other machines join this cluster with: create, list, delete"),
    "join": ("kybern.cmd.join", "make this machine a node of another machine's cluster"),
    "image": ("kybern.cmd.image", "build, pull, push, load, save, list and remove images"),
    "cri": ("kybern.cmd.cri", "serve this machine's container runtime as CRI v1, for others' kubelets and tools"),
    "rotate": ("kybern.cmd.rotate", "replace a cluster's keys: what encrypts Secrets, what signs tokens"),
    "why": ("kybern.cmd.why", "say why a pod waits and what would help, or why it is where it is"),
    "kubectl": ("kybern.cli.kubectl.main", "a small kubectl, for machines that have none"),
    "bench": ("kybern.cli.bench", "measure an API server and print the figures beside upstream's"),
}
"""Name → (module, help). A module has `add_arguments(parser)` and `run(args) -> exit code`."""


class OneLineParser(argparse.ArgumentParser):
    """What is wrong in one line, and where help is: `up` has so many options that a usage text would hide the fault."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n(options: {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    return exit_code(lambda: run_command(args))


def run_command(args: list[str]) -> int:
    chosen = next((arg for arg in args if not arg.startswith("-")), "")
    parser = build_parser(chosen)
    if chosen and chosen not in COMMANDS:
        parser.error(unknown(chosen))
    parsed, rest = parser.parse_known_args(args)
    if rest:
        parser.prog = " ".join(filter(None, (parser.prog, chosen)))
        parser.error(f"there is no option {rest[0]}" if rest[0].startswith("-") else f"{rest[0]!r} is too much")
    run: Callable[[argparse.Namespace], int] | None = getattr(parsed, "run", None)
    if run is None:
        parser.print_help()
        return 2
    return run(parsed)


def build_parser(chosen: str) -> argparse.ArgumentParser:
    """The parser of all names, with the arguments of the chosen command only: the others need not be imported."""
    parser = OneLineParser(prog="kybern", description="Kubernetes on this machine, in about a second.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            found = import_module(module)
            found.add_arguments(sub)
            sub.set_defaults(run=found.run)
    return parser


def unknown(command: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(command, COMMANDS, n=1, cutoff=0.7)
    return f"there is no command {command!r}" + (f"; is it {near[0]!r}?" if near else "")


def version() -> str:
    from importlib.metadata import version as installed

    return f"kybern {installed('kybern')}"


def run_and_exit() -> None:
    sys.exit(main())


if __name__ == "__main__":
    run_and_exit()
