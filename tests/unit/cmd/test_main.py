"""The command line never shows a traceback for what its user can mend."""

from pathlib import Path

import pytest

from kybern.cmd.main import COMMANDS, main


@pytest.mark.parametrize("command", ["up", "down", "status", "reset"])
def test_a_directory_that_is_a_file_is_one_clear_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([command, "--data-dir", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert str(tmp_path / "file") in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("command", ["up", "down", "status", "reset"])
def test_a_damaged_note_is_one_clear_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cluster.json").write_text("{not json")
    assert main([command, "--data-dir", str(tmp_path)]) == 1
    assert "cluster.json is damaged" in capsys.readouterr().err


def test_a_directory_without_a_cluster_is_no_failure_to_stop(tmp_path: Path) -> None:
    assert main(["down", "--data-dir", str(tmp_path)]) == 0
    assert main(["status", "--data-dir", str(tmp_path)]) == 3


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert f"kybern {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("upp", "kybern: there is no command 'upp'; is it 'up'?\n(options: kybern --help)\n"),
        ("wibble", "kybern: there is no command 'wibble'\n(options: kybern --help)\n"),
        ("up --nods 3", "kybern up: there is no option --nods\n(options: kybern up --help)\n"),
        ("down now", "kybern down: 'now' is too much\n(options: kybern down --help)\n"),
        ("up --port x", "kybern up: argument --port: 'x' is no port number (1-65535)\n(options: kybern up --help)\n"),
    ],
)
def test_what_was_mistyped_is_said_in_one_line(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(typed.split())
    assert left.value.code == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("typed", ["node --data-dir {} ls", "node ls --data-dir {}", "node ls --data-dir={}"])
def test_the_data_directory_may_stand_before_and_behind_an_action(
    typed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.format(tmp_path).split()) == 1
    assert f"there is no cluster in {tmp_path}" in capsys.readouterr().err
