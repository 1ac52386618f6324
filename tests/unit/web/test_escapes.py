"""Percent-encoded text is read as the standard library reads it."""

from urllib.parse import parse_qsl, unquote

from hypothesis import given
from hypothesis import strategies as st

from kybern.web.escapes import BYTES, ESCAPED, pairs_of, unquoted

PIECES = (
    "%",
    "%e4",
    "%C3",
    "%a4",
    "%0",
    "%41",
    "%f0",
    "%9f",
    "%26",
    "%3D",
    "%2b",
    "a",
    "2",
    "f",
    "ä",
    "€",
    "+",
    "&",
    "=",
    " ",
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(TEXTS)
def test_text_is_read_as_by_the_standard_library(text: str) -> None:
    assert unquoted(text) == unquote(text)


@given(TEXTS)
def test_a_query_is_read_as_by_the_standard_library(query: str) -> None:
    assert [*pairs_of(query)] == parse_qsl(query, keep_blank_values=True)


def test_signs_that_begin_no_byte_are_no_work() -> None:
    """Each took the time of an exception: a target that consists of them held everybody up, before it was known who asks."""
    assert len(BYTES) == 256
    assert [found[0] for found in ESCAPED.finditer(b"%" * 100_000 + b"41%zz%4")] == [b"%41"]
