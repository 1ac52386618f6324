import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api.meta_v1 import LabelSelector, LabelSelectorRequirement
from kybern.api.selectors import EVERYTHING, of_label_selector, of_labels, parse_fields, parse_labels

LABELS = {"app": "web", "tier": "front", "level": "5"}


@pytest.mark.parametrize(
    "text",
    ["", "app=web", "app==web", " app = web ", "app in (web,db)", "app notin (db)", "missing notin (x)", "app", "!missing",
     "app!=db", "missing!=x", "level>4", "level<6", "app=web,tier=front", "app in (web), !other,tier", "in", "app=web,in!=x"],
)  # fmt: skip
def test_a_selector_that_matches(text: str) -> None:
    expected = text not in ("in",)
    assert parse_labels(text).matches(LABELS) == expected


@pytest.mark.parametrize(
    "text",
    ["app=db", "app in (db)", "app notin (web)", "missing", "!app", "app!=web", "level>5", "tier>1", "app=web,tier=x",
     "app=", "app in ()", "missing=", "missing in (,)"],
)  # fmt: skip
def test_a_selector_that_does_not_match(text: str) -> None:
    assert not parse_labels(text).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": "
                "for 'Gt', 'Lt' operators, the value must be an integer"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=b@", "unable to parse requirement: values[0][a]: Invalid value: \"b@\": a valid label must be an empty string "
                 "or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
                 "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                 "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"),
    ],
)  # fmt: skip
def test_a_bad_selector_is_refused_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_labels(text)
    assert str(refused.value) == why


def test_a_bad_key_is_refused_before_its_operator_is_read() -> None:
    with pytest.raises(ValueError, match='<nil>: Invalid value: "-a": name part must consist of alphanumeric'):
        parse_labels("-a=b")


def test_an_absent_label_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not of_label_selector(None).matches(LABELS)
    assert of_label_selector(LabelSelector()).matches(None)
    assert of_labels(None) == EVERYTHING


def test_a_label_selector_needs_all_its_parts() -> None:
    expressions = (LabelSelectorRequirement(key="tier", operator="In", values=("front", "back")),)
    selector = of_label_selector(LabelSelector(match_labels={"app": "web"}, match_expressions=expressions))
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web"})
    assert str(selector) == "app=web,tier in (back,front)"


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (LabelSelectorRequirement(key="a", operator="Near"), '"Near" is not a valid label selector operator'),
        (LabelSelectorRequirement(key="a", operator="In"), "values set can't be empty"),
        (LabelSelectorRequirement(key="a", operator="Exists", values=("x",)), "values set must be empty for exists"),
    ],
)
def test_a_label_selector_with_a_bad_expression_is_refused(expression: LabelSelectorRequirement, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        of_label_selector(LabelSelector(match_expressions=(expression,)))


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.from_regex("[a-z0-9]{0,5}", fullmatch=True)))
def test_the_text_of_a_selector_parses_to_the_same_selector(labels: dict[str, str]) -> None:
    selector = of_labels(labels)
    if not {"in", "notin"} & (set(labels) | set(labels.values())):
        assert parse_labels(str(selector)) == selector
    assert selector.matches(labels)


def test_field_selectors_compare_texts_at_paths() -> None:
    pod = {"spec.nodeName": "n1", "status.phase": "Running", "metadata.name": "a,b"}
    assert parse_fields("spec.nodeName=n1,status.phase!=Failed").matches(lambda path: pod[path])
    assert parse_fields("spec.nodeName==n1").exact("spec.nodeName") == "n1"
    assert not parse_fields("spec.nodeName=n2").matches(lambda path: pod[path])
    assert parse_fields("metadata.name=a\\,b").matches(lambda path: pod[path])
    assert parse_fields("").everything


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        ("a=b\\x", "invalid field selector: invalid escape sequence: \\x"),
    ],
)
def test_a_bad_field_selector_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_fields(text)
    assert str(refused.value) == why
