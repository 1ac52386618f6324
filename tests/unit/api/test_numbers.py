import pytest

from kybern.api.numbers import integer


@pytest.mark.parametrize(
    ("text", "bits", "number"),
    [
        ("7", 64, 7), ("-7", 64, -7), ("+7", 64, 7), ("007", 64, 7), ("0", 64, 0), ("-0", 64, 0),
        (f"{'0' * 9000}7", 64, 7), ("3546343826724305832", 64, 3546343826724305832),
        (str(2**63 - 1), 64, 2**63 - 1), (str(2**63), 64, None), (str(-(2**63)), 64, -(2**63)),
        (str(2**31 - 1), 32, 2**31 - 1), (str(2**31), 32, None), ("9" * 9000, 64, None),
        ("", 64, None), (None, 64, None), (" 7", 64, None), ("1_000", 64, None), ("٧", 64, None), ("+-7", 64, None),
        ("0x7", 64, None), ("7.0", 64, None), ("7\n", 64, None),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_number_is_what_strconv_takes_for_one(text: str | None, bits: int, number: int | None) -> None:
    assert integer(text, bits) == number
