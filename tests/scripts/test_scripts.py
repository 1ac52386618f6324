"""Every script beside this file, played on a simulated cluster. REWRITE=1 records what it prints now."""

import os
from pathlib import Path

import pytest

from kybern.testing import virtual
from kybern.testing.script import parse, play, rewritten

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    blocks = parse(path.read_text())
    outputs = virtual.run(play(blocks))
    if os.environ.get("REWRITE"):
        path.write_text(rewritten(blocks, outputs))
        return
    assert rewritten(blocks, outputs) == path.read_text()
