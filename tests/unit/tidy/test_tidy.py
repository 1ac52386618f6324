"""Rules of style that no linter knows: each holds for every file, so nobody has to remember it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src" / "kybern"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
FORBIDDEN_IN_NAMES = re.compile(r"(Manager|Helper|Util|Impl)\b|^Base[A-Z]")
DECIDING = ("controllers", "registry", "scheduler/plugins")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_opens_with_its_idea(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{path} has no docstring"


def test_no_name_says_manager_helper_or_util() -> None:
    found = [
        f"{relative(path)}:{node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and FORBIDDEN_IN_NAMES.search(node.name)
    ]
    assert found == []


def test_nothing_is_left_to_do_in_the_code() -> None:
    marks = re.compile(r"#.*\b(TODO|FIXME|XXX)\b")
    assert [relative(path) for path in MODULES if marks.search(path.read_text())] == []


def test_only_reconcile_is_a_coroutine_where_decisions_are_made() -> None:
    """A controller's effects are in `reconcile` and what it awaits by name; a registry or plugin has none at all."""
    found = [
        f"{relative(path)}:{node.name}"
        for path in MODULES
        if relative(path).startswith(("registry/", "scheduler/plugins/"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert found == []


def test_time_chance_and_identity_come_from_aio() -> None:
    """`cmd` and `cli` are the edge, where the machine's own clock is handed in."""
    calls = re.compile(r"\b(time\.time\(\)|uuid4\(|uuid1\(|random\.(random|choice|randint|shuffle)\()")
    edge = ("aio/", "cmd/", "cli/", "testing/", "runtime/warden/", "linux/")
    found = [relative(p) for p in MODULES if not relative(p).startswith(edge) and calls.search(p.read_text())]
    assert found == []


def test_timeouts_come_from_aio() -> None:
    """asyncio's own ends a task, on Debian 12's Python, in which a group has failed before."""
    found = [relative(p) for p in MODULES if "asyncio.timeout(" in p.read_text()]
    assert found == ["aio/timeouts.py"]
