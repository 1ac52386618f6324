"""The README tells the truth: every command of its `console run` blocks is executed, in order."""

import os
import re
import subprocess

import pytest
from conftest import PROJECT, Cluster

pytestmark = pytest.mark.clients


def commands() -> list[str]:
    text = (PROJECT / "README.md").read_text()
    blocks = re.findall(r"```console run\n(.*?)```", text, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_command_of_the_readme_works(cluster: Cluster) -> None:
    assert len(commands()) > 10
    for command in commands():
        done = subprocess.run(
            ["bash", "-c", command], cwd=PROJECT, env=cluster.environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
        print(f"$ {command}\n{done.stdout}", end="")


def test_the_readme_names_every_command_of_the_command_line() -> None:
    from kybern.cmd.main import COMMANDS

    text = (PROJECT / "README.md").read_text()
    assert [name for name in COMMANDS if f"kybern {name}" not in text] == []


def test_every_target_of_the_readme_exists() -> None:
    text = (PROJECT / "README.md").read_text()
    targets = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)`|^\$ make ([a-z]+)", text, re.MULTILINE))
    makefile = (PROJECT / "Makefile").read_text()
    for found in targets:
        (target,) = filter(None, found)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert os.access(PROJECT / "tools" / "setup.sh", os.X_OK)
