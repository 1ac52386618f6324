import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api import quantity
from kybern.api.quantity import BINARY, DECIMAL, LARGEST, canonical


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("0", "0"), ("0Gi", "0"), ("-0", "0"), ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1Gi", "1Gi"),
        ("1.5Gi", "1536Mi"), ("0.5Gi", "512Mi"), ("1000Ki", "1000Ki"), ("1023", "1023"), ("1024", "1024"),
        ("1000", "1k"), ("1500", "1500"), ("1e3", "1e3"), ("1000e0", "1e3"), ("1E3", "1e3"), ("5e-3", "5e-3"),
        ("12e1", "120"), ("100m", "100m"), ("0.1", "100m"), ("1.", "1"), (".5", "500m"), ("+1", "1"), ("-1.5", "-1500m"),
        ("0.1Mi", "104857600m"), ("1E", "1E"), ("1Ei", "1Ei"), ("0.1n", "1n"), ("-0.1n", "-1n"), ("1.1n", "2n"),
        ("100E", "9223372036854775807"), ("0.5Ki", "512"), ("1u", "1u"), ("12345678", "12345678"), ("007", "7"),
        ("1e+3", "1e3"), (" 1 ", "1"), (1, "1"), (0.5, "500m"), (1000000, "1M"),
    ],
)  # fmt: skip
def test_the_canonical_text_keeps_the_family_of_suffixes(given_text: object, expected: str) -> None:
    assert canonical(given_text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", quantity.WRONG_FORMAT), ("abc", quantity.WRONG_FORMAT), ("1 2", quantity.WRONG_FORMAT),
        ("1x", quantity.WRONG_FORMAT), ("1.2.3", quantity.WRONG_FORMAT), ("--1", quantity.WRONG_NUMBER),
        ("1-", quantity.WRONG_SUFFIX), ("1K", quantity.WRONG_SUFFIX), ("1mi", quantity.WRONG_SUFFIX),
        ("1e", quantity.WRONG_SUFFIX), ("1e1000000", quantity.WRONG_SUFFIX), ("1m3", quantity.WRONG_SUFFIX),
        (".", quantity.WRONG_NUMBER), ("٣", quantity.WRONG_FORMAT), ("1" * 1000, quantity.WRONG_FORMAT),
        ("+", quantity.WRONG_FORMAT), ("1\n", ""),
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        quantity.parse(text)
    assert why in str(refused.value)


@pytest.mark.parametrize("value", [True, None, [], {}, float("nan"), float("inf")])
def test_a_value_that_is_neither_text_nor_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_parts_of_a_unit_are_rounded_up() -> None:
    assert quantity.value("1m") == 1
    assert quantity.value("-1m") == -1
    assert quantity.milli("1n") == 1
    assert quantity.milli("1500m") == 1500
    assert quantity.rounded_up_to_milli("1n") == "1m"


def test_a_sum_keeps_the_family_of_the_first_that_is_not_zero() -> None:
    assert quantity.add("1Gi", "1Gi") == "2Gi"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.subtract("1", "250m") == "750m"


def test_amounts_are_compared_across_families() -> None:
    assert quantity.compare("1Gi", "1073741824") == 0
    assert quantity.compare("1", "999m") == 1
    assert quantity.compare("1M", "1Mi") == -1


texts = st.builds(
    "{}{}{}".format,
    st.integers(-(10**12), 10**12),
    st.one_of(st.just(""), st.integers(0, 10**9).map(lambda n: f".{n}")),
    st.sampled_from([*DECIMAL, *BINARY, "e3", "e-3", "E2"]),
)


@given(texts)
def test_the_canonical_text_of_a_canonical_text_is_itself(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    assert quantity.parse(once).nano == quantity.parse(text).nano
    assert abs(quantity.parse(once).nano) <= LARGEST


@given(texts, texts)
def test_what_is_added_can_be_taken_away(one: str, other: str) -> None:
    total = quantity.parse(one).nano + quantity.parse(other).nano
    if abs(total) <= LARGEST:
        assert quantity.compare(quantity.subtract(quantity.add(one, other), other), one) == 0
