"""A container of the machine's own root: its programs run, and its secrets are not there, even for root."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, pod

from kybern.runtime.images.host import NAME

pytestmark = pytest.mark.linux


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


async def test_programs_run_and_secrets_are_not_there_even_for_root(here: Pod) -> None:
    here.image = NAME
    key = Path.home() / ".kybern-test-key"
    key.touch(0o600)
    try:
        script = f"id -u; test -s /etc/passwd && echo users; cat /etc/shadow; cat {key} 2>&1; ls -A {Path.home()} /home /var/lib"
        lines = await here.shell(script)
    finally:
        key.unlink()
    assert lines[:2] == ["0", "users"]
    assert "No such file" in lines[2]
    assert [line for line in lines[3:] if line and not line.endswith(":")] == []


async def test_directories_for_everybody_stay_that(here: Pod) -> None:
    here.image = NAME
    assert await here.shell("stat -c %a /tmp /var/tmp; echo x > /var/tmp/x && cat /var/tmp/x") == ["1777", "1777", "x"]
