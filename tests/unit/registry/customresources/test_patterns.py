"""Patterns of schemas: what people write is sought, and no text takes longer than others can wait."""

import pytest

from kybern.registry.customresources import patterns


def test_letters_of_any_language_are_counted() -> None:
    is_name = patterns.found_by(r"^\p{L}{1,63}$")
    assert is_name("Ж" * 63)
    assert not is_name("Ж" * 64)
    assert not is_name("a1")


@pytest.mark.parametrize("source", ["ab*$", r"\p{L}{1,40}b*$"])
def test_a_text_that_would_take_too_many_steps_does_not_match(source: str) -> None:
    is_found = patterns.found_by(source)
    length_max = patterns.STEPS_MAX // patterns.pattern(source).programsize
    assert is_found("a" + "b" * (length_max - 1))
    assert not is_found("a" + "b" * length_max)
