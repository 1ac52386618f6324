"""What is made of a supervisor's silence."""

import select
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kybern.cmd import config, running
from kybern.cmd.main import main


def test_a_supervisor_that_does_not_answer_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.setattr(running, "ANSWER_SECONDS", 0.05)
        monkeypatch.setattr(config, "run_root", lambda: Path(short))
        cluster = config.new(tmp_path, port=6443, node_name="n1")
        config.save(cluster)
        cluster.run.mkdir()
        listener.bind(str(cluster.control_socket))
        listener.listen(1)
        assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "kybern: the cluster's supervisor did not answer in 0 s\n"


def test_a_supervisor_that_dies_while_it_is_asked_is_none() -> None:
    with (
        tempfile.TemporaryDirectory() as short,
        ThreadPoolExecutor(1) as pool,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(short) / "control"
        listener.bind(str(path))
        listener.listen()
        asked = pool.submit(running.status, path)
        select.select([listener], [], [])
        listener.close()
        assert asked.result(5) is None
