"""How a process becomes the warden: it runs a fresh interpreter, from a sealed copy of it in memory.

Fresh, since a fork of a large process is slow and a warden forks for every container. Sealed, since a container whose
program is `/proc/self/exe` names the file that the warden runs from (CVE-2019-5736).
"""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from kybern.linux import processes

SOURCE = Path(__file__).parents[3]
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from kybern.runtime.warden.main import main; main(*sys.argv[1:])"
)


def arguments(socket_path: str, state_dir: str, keeper_path: str = "") -> list[str]:
    """For the interpreter: nothing but the standard library and our own source is on its path."""
    return ["-I", "-S", "-c", PROGRAM, str(SOURCE), socket_path, state_dir, keeper_path]


def become_warden(socket_path: str, state_dir: str, keeper_path: str = "") -> NoReturn:
    """Keeps the pid, so a supervisor's child may call this."""
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    processes.run_sealed(arguments(socket_path, state_dir, keeper_path), variables)
    os._exit(127)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m kybern.runtime.warden")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--keeper", default="", help="the supervisor's socket, which keeps the containers' streams")
    given = parser.parse_args()
    become_warden(given.socket, given.state_dir, given.keeper)
