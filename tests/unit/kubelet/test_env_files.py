"""Environment variables out of files that an init container wrote."""

import os
from pathlib import Path

import pytest

from kybern.api.core_v1 import FileKeySelector
from kybern.kubelet.env_files import FILE_BYTES_MAX, ConfigFault, file_key, parsed, read_file

TEXT = """
# a comment
  ADDRESS='10.0.0.1'   # where it is
EMPTY=''
LINES='one
two # not a comment'
"""


def test_a_file_has_names_and_quoted_texts() -> None:
    assert parsed(TEXT, "f") == {"ADDRESS": "10.0.0.1", "EMPTY": "", "LINES": "one\ntwo # not a comment"}


@pytest.mark.parametrize("wrong", ["A=b", "A = 'b'", "A='b", "A='b' c", "='b'", "export A='b'", 'A="b"'])
def test_what_is_not_written_so_is_an_error_with_its_line(wrong: str) -> None:
    with pytest.raises(ConfigFault, match="invalid environment variable format in line 2"):
        parsed(f"B='ok'\n{wrong}\n", "f")


def test_a_key_or_file_that_is_not_there_is_an_error_unless_it_is_optional() -> None:
    files = {("v", "f"): "A='1'"}
    one = FileKeySelector(volume_name="v", path="f", key="A")
    assert file_key(one, files) == "1"
    for missing, said in (
        (FileKeySelector(volume_name="v", path="f", key="B"), 'key "B" not found in file "f"'),
        (FileKeySelector(volume_name="v", path="g", key="B"), "no such file in volume v"),
    ):
        with pytest.raises(ConfigFault, match=said):
            file_key(missing, files)
    assert file_key(FileKeySelector(volume_name="v", path="g", key="B", optional=True), files) is None


def test_a_link_that_leads_out_shows_nothing_of_the_node(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "secret").write_text("A='node'")
    (volume / "up").symlink_to("../secret")
    (volume / "absolute").symlink_to(tmp_path / "secret")
    os.mkfifo(volume / "pipe")
    (volume / "large").write_text("x" * (FILE_BYTES_MAX + 1))
    (volume / "sub").mkdir()
    (volume / "sub/f").write_text("A='1'")
    assert read_file(str(volume), "sub/f") == "A='1'"
    assert [read_file(str(volume), name) for name in ("up", "absolute", "nothing", "sub/f/g")] == [None] * 4
    with pytest.raises(OSError, match="not a regular file"):
        read_file(str(volume), "pipe")
    with pytest.raises(ConfigFault, match="larger than"):
        read_file(str(volume), "large")
