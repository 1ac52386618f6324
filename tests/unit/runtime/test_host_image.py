"""What the image of the machine's own root shows of it."""

from pathlib import Path

import pytest

from kybern.runtime.images.host import hidden_in, host_image


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for directory in ("usr/bin", "etc/ssh", "etc/ssl/private", "root/.kube", "home/me", "srv", "var/lib/db", "var/tmp"):
        (tmp_path / directory).mkdir(parents=True)
    for name, mode in {"etc/passwd": 0o644, "etc/shadow": 0o640, "etc/ssh/key": 0o600, "swap": 0o600}.items():
        (tmp_path / name).touch(mode)
    (tmp_path / "etc/ssl/private").chmod(0o710)
    (tmp_path / "etc/link").symlink_to("shadow")
    (tmp_path / "bin").symlink_to("usr/bin")
    return tmp_path


def test_programs_and_public_settings_show_and_nothing_else(machine: Path) -> None:
    hidden = sorted(str(Path(path).relative_to(machine)) for path in hidden_in(str(machine)))
    private = ["etc/shadow", "etc/ssh/key", "etc/ssl/private", "swap"]
    assert hidden == sorted([*private, "root", "home", "srv", "var/lib", "var/tmp"])


def test_a_data_directory_behind_a_link_is_hidden_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert host_image((tmp_path / "link",)).hidden[-1] == str(tmp_path / "real")
