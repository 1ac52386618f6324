"""What `kybern status` prints."""

import io
from pathlib import Path

from kybern.cmd import config, status
from kybern.cmd.progress import Progress


def test_what_a_pod_or_a_plugin_said_cannot_command_the_terminal_nor_look_like_lines_of_ours(tmp_path: Path) -> None:
    said = io.StringIO()
    theirs = "pod d/a waits on node n: no\tnetwork\r\n✓ all is well \x1b]0;title\x07\x9b2J"
    status.show(config.new(tmp_path, index=1), {"programs": []}, "", [theirs], Progress(said))
    assert said.getvalue().splitlines() == [
        r"· pod d/a waits on node n: no network  ✓ all is well \x1b]0;title\x07\x9b2J",
        "· the API server answers and the node is Ready",
    ]
