import pytest

from kybern.api.errors import BadRequest
from kybern.apiserver.options import whole_number


@pytest.mark.parametrize(("text", "number"), [("", None), ("0", 0), ("500", 500), ("-1", -1), ("007", 7)])
def test_a_whole_number_is_read(text: str, number: int | None) -> None:
    assert whole_number({"limit": [text]}, "limit") == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1_0", "invalid syntax"), (" 1", "invalid syntax"), ("٧", "invalid syntax"), ("1.0", "invalid syntax"),
        (str(2**63), "value out of range"), ("9" * 5000, "value out of range"),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_what_go_does_not_take_for_a_number_is_refused_in_its_words(text: str, why: str) -> None:
    with pytest.raises(BadRequest, match=f"strconv.ParseInt: parsing .*: {why}"):
        whole_number({"limit": [text]}, "limit")
