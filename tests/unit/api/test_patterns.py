"""Regular expressions: what would take RE2 long is refused before it is asked, in Go's words; what people write is not."""

import pytest

from kybern.api import patterns

SANE = [
    "^.{0,1000}$",
    r"^\p{L}{1,63}$",
    r"^([a-z]{1,63}\.){1,10}[a-z]{2,63}$",
    r"^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])\.)*[A-Za-z0-9]{0,61}$",
    r"^(([0-9a-fA-F]{1,4}:){7,7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4})$",
    "(abc){1000}",
    "^([a-zA-Z0-9_.-]){1,512}$",
    r"^(\d+,?){1,500}$",
    "^([a-z]){1,500}:(foo|bar){1,500}$",
    "^(?:[a-z]){1,400}(?:,[a-z]){1,400}$",
    "|".join(f"word{number}" for number in range(5_000)),
]
LONG = [
    "a{0,1000}" * 20,
    "(a{0,1000})" * 20,
    "(?:" + "a{0,100}" * 40 + "){2}",
    "a?" * 20_000,
    r"\(?" * 20_000,
    "(a){0,1000}" * 20,
    "(?:" + "(?:a){0,2}" * 1_400 + "){1,14}",
    r"\pL" * 30_000,
    r"(?i)\PL|" * 20_000,
]


@pytest.mark.parametrize("source", SANE, ids=lambda source: source[:30])
def test_what_people_write_is_compiled(source: str) -> None:
    assert patterns.compiled(source).programsize > 0
    assert patterns.effort(source) < 50_000


@pytest.mark.parametrize("source", LONG, ids=lambda source: source[:30])
def test_what_takes_long_is_never_compiled(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns.re2, "compile", lambda *_: pytest.fail("it was"))
    with pytest.raises(ValueError, match=r"^error parsing regexp: expression too large: `"):
        patterns.compiled(source)


def test_what_has_too_many_instructions_is_told_so_too() -> None:
    with pytest.raises(ValueError, match=r"^error parsing regexp: expression too large: `\\pL\{0,1000\}`$"):
        patterns.compiled(r"\pL{0,1000}")


def test_groups_are_not_followed() -> None:
    assert patterns.compiled("(a|b)*a" + "([ab])" * 900).groups == 0


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [
        ("a{0,900}", "a{0,90}"),
        ("(a?){99}", "a?"),
        (r"\pLa", "aa"),
        (r"\pL{63}", r"\pL"),
        (r"(\pL){63}", r"\pL" * 10),
        ("(abc){900}", "(abc){9}"),
    ],
)
def test_what_takes_longer_counts_for_more(longer: str, shorter: str) -> None:
    assert patterns.effort(longer) > patterns.effort(shorter)


@pytest.mark.parametrize("odd", ["a{9,1}", "a{,5}", "a{}", "){5}", "(a){0,0}", "a{0}", "[{1,2}]"])
def test_odd_braces_are_counted_or_passed_over(odd: str) -> None:
    assert 50 <= patterns.effort(odd) < 100
