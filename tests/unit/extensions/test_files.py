"""Extension files: what is read out of them, and what becomes of broken ones."""

import logging
import os
from pathlib import Path

import pytest

from kybern.api.core_v1 import ConfigMap, Pod
from kybern.extensions.files import Broken, Extensions, load

RULE = "from kybern.api.core_v1 import Pod\nfrom kybern.extensions import *\n@validates(Pod)\ndef rule(pod): pass\n"


def written(path: Path, text: str) -> Path:
    """As an editor saves: another file under the same name, so that a change is never overlooked."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
    return path


def test_every_kind_of_rule_is_found(tmp_path: Path) -> None:
    text = (
        "from kybern.api.core_v1 import ConfigMap, Pod\n"
        "from kybern.extensions import controller, filters, mutates, scores, validates\n"
        "@validates(Pod)\ndef a(pod): pass\n"
        "@mutates(Pod, on=('CREATE', 'UPDATE'))\ndef b(pod, request): return pod\n"
        "@controller(ConfigMap, owns=(Pod,))\nasync def c(config_map, view, client): pass\n"
        "@filters\ndef d(pod, node): pass\n"
        "@scores(weight=3)\ndef e(pod, node): return 1\n"
    )
    found = Extensions([written(tmp_path / "all.py", text)])
    assert [(rule.kind, rule.operations, rule.mutates) for rule in found.admission] == [
        (Pod, ("CREATE", "UPDATE"), False),
        (Pod, ("CREATE", "UPDATE"), True),
    ]
    assert [(rule.kind, rule.owns) for rule in found.controllers] == [(ConfigMap, (Pod,))]
    assert [rule.weight for rule in found.scheduling] == [0, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = 1\n\ny = 1 / 0\n", "line 3, in <module>"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("x = 1\n", "it declares nothing"),
        ("from kybern.extensions import *\n@validates(int, on=('READ',))\ndef a(b): pass\n", "'READ' is no operation"),
        ("from kybern.extensions import *\n@scores(weight=0)\ndef a(b): pass\n", "a weight is 1 or more"),
    ],
)
def test_a_broken_file_is_refused_with_its_traceback(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path / "broken.py", text)
    with pytest.raises(Broken) as refused:
        Extensions([path])
    assert words in str(refused.value) and str(path) in str(refused.value)
    assert "files.py" not in str(refused.value), "how it was loaded is nobody's concern"


def test_a_change_is_loaded_and_told(tmp_path: Path) -> None:
    path = written(tmp_path / "rule.py", RULE)
    found = Extensions([path])
    told: list[str] = []
    found.on_change.append(lambda: told.append("changed"))
    found.look()
    assert told == []
    written(path, RULE.replace("def rule", "def another"))
    found.look()
    assert [rule.function.__name__ for rule in found.admission] == ["another"]
    found.look()
    assert told == ["changed"]


def test_a_file_that_breaks_leaves_the_former_one_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "rule.py", RULE)
    found = Extensions([path])
    before = found.rules
    written(path, RULE + "1 / 0\n")
    with caplog.at_level(logging.ERROR):
        found.look()
        found.look()
    assert found.rules == before
    (record,) = caplog.records
    assert "ZeroDivisionError" in record.getMessage() and "line 5" in record.getMessage()
    path.unlink()
    found.look()
    assert found.rules == before
    written(path, RULE)
    found.look()
    assert found.rules != before and len(found.rules) == 1


def test_what_was_in_force_stays_so_when_a_process_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, kept = written(tmp_path / "rule.py", RULE), tmp_path / "kept"
    Extensions([path], kept)
    path.write_text("def broken(:\n")
    with caplog.at_level(logging.ERROR):
        again = Extensions([path], kept)
    assert [rule.function.__name__ for rule in again.admission] == ["rule"]
    assert "SyntaxError" in caplog.text
    path.unlink()
    assert len(Extensions([path], kept).rules) == 1
    written(path, RULE.replace("def rule", "def mended"))
    again.look()
    assert [rule.function.__name__ for rule in again.admission] == ["mended"]
    with pytest.raises(Broken, match="No such file"):
        Extensions([tmp_path / "never.py"], kept)


def test_the_examples_can_be_loaded() -> None:
    examples = sorted((Path(__file__).parents[3] / "examples" / "05-extensions").glob("*.py"))
    assert [len(load(path)) for path in examples] == [2, 2, 1]
