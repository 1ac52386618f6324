"""What the documents name is there."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
ROOTS = (PROJECT, PROJECT / "src" / "kybern")
QUOTED = re.compile(r"`([^`\s]+)`|\]\(([^)\s]+)\)|\b((?:docs|tests|tools|examples|src)/[\w./-]*[\w/])")
PATHLIKE = re.compile(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(py|md|sh|toml)")
OF_A_NODE = re.compile(r"^(/|<|~)|://")


def paths_named(text: str) -> set[str]:
    named = {next(filter(None, found)) for found in QUOTED.findall(text)}
    return {path for path in named if PATHLIKE.fullmatch(path) and not OF_A_NODE.search(path)}


@pytest.mark.parametrize("document", ["README.md", "docs/ARCHITECTURE.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    named = paths_named((PROJECT / document).read_text())
    assert named
    missing = [path for path in sorted(named) if not any((root / path).exists() for root in ROOTS)]
    assert [path for path in missing if not is_made(path)] == []


def is_made(path: str) -> bool:
    """By `make up`, or the name of an image."""
    return path.startswith((".venv/", "kybern.local/"))


def test_every_decision_has_a_number_of_its_own_and_none_is_left_out() -> None:
    names = sorted(path.name for path in (PROJECT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    titles = [(PROJECT / "docs" / "decisions" / name).read_text().partition("\n")[0] for name in names]
    assert [title.split()[:2] for title in titles] == [["#", name[:4]] for name in names]
