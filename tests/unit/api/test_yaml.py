from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api import yaml, yaml_text
from kybern.api.yaml import NotYaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("on", True), ("y", True), ("Off", False), ("~", None), ("null", None), ("", None), ("017", 15),
        ("0o17", 15), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("1.5", 1.5), ("1e3", 1000.0), ("-7", -7), ("08", 8.0),
        ("2026-01-31", "2026-01-31"), ("12:30:45", "12:30:45"), ("'yes'", "yes"), ('"1"', "1"), ("1.2.3", "1.2.3"),
        ("!!str 1", "1"), ("!!int '1'", 1), ("abc", "abc"), ("100m", "100m"), ("0", 0), ("-", [None]),
        ("99999999999999999999999", 1e23), ("|\n  a\n  b\n", "a\nb\n"), ("{1: a, true: b, x: c}", {"1": "a", "true": "b", "x": "c"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}), ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("!!binary aGk=", "hi"), ("- a\n- [b, {c: d}]", ["a", ["b", {"c": "d"}]]),
    ],
)  # fmt: skip
def test_words_mean_what_they_mean_upstream(text: str, value: Any) -> None:
    found, repeated = yaml.parse(text)
    assert (found, type(found)) == (value, type(value))
    assert repeated == []


def test_a_key_that_comes_twice_is_reported_with_its_line() -> None:
    value, repeated = yaml.parse("a: 1\nb:\n  c: 1\n  c: 2\n")
    assert value == {"a": 1, "b": {"c": 2}}
    assert repeated == ['yaml: unmarshal errors:\n  line 4: key "c" already set in map']


def test_a_stream_has_several_documents() -> None:
    assert [value for value, _ in yaml.documents("a: 1\n---\n---\nb: 2\n")] == [{"a": 1}, None, {"b": 2}]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 6)}]\n" for n in range(8)
)


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, "a: [", "{a: b", "a: b: c", "*x", "a: .nan", "a: .inf", "!!python/object:os.system x", "\x00",
     "? [a]\n: b", "<<: x", b"\xff\xfe\x00", BOMB, "- " * 70 + "x", "a: !!int x", "9" * 5000,
     "x: &x 1\ny: [" + ",".join(["*x"] * 60) + "]", "[" + "a," * 210_000 + "]"],
)  # fmt: skip
def test_what_is_no_yaml_or_too_much_of_it_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotYaml):
        yaml.parse(text)


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(NotYaml, match="error converting YAML to JSON: yaml: line 2: "):
        yaml.parse("a: 1\nb: c: d\n")


def test_the_emitted_text_reads_as_upstreams() -> None:
    value = {
        "metadata": {"name": "a", "annotations": {}, "labels": {"on": "yes", "n": "1", "t": "12:30"}},
        "items": [{"b": 1, "a10": [], "a9": ["x", ["z"]]}, "plain text", "a: b", "# c", "it's", " x", "tab\t", None, 1.0],
        "text": "one\ntwo\n", "script": "  indented\nlines", "end": "a\n\n", "space": "a \nb",
    }  # fmt: skip
    assert yaml_text.dump(value) == (
        "end: |+\n  a\n\n"
        "items:\n- a9:\n  - x\n  - - z\n  a10: []\n  b: 1\n- plain text\n- 'a: b'\n- '# c'\n- it's\n- ' x'\n"
        '- "tab\\t"\n- null\n- 1\n'
        'metadata:\n  annotations: {}\n  labels:\n    "n": "1"\n    "on": "yes"\n    t: "12:30"\n  name: a\n'
        "script: |2-\n    indented\n  lines\n"
        'space: "a \\nb"\n'
        "text: |\n  one\n  two\n"
    )


texts = st.one_of(
    st.text(max_size=12), st.sampled_from(["yes", "0", "-", "?", ":", "a:", "- a", "...", "---", "=", "<<"])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


@given(values)
def test_what_is_emitted_reads_back_the_same(value: Any) -> None:
    assert yaml.parse(yaml_text.dump(value)) == (value, [])
