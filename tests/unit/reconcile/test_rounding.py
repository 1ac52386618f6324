import pytest

from kybern.api.numbers import INT32_MAX
from kybern.reconcile.rounding import scaled


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [
        (3, 10, 3, 3), ("25%", 10, 3, 2), ("0%", 10, 0, 0), ("100%", 7, 7, 7), ("007%", 100, 7, 7),
        (f"1{'0' * 9}%", 1000, INT32_MAX, INT32_MAX), (f"{'9' * 400}%", 5, INT32_MAX, INT32_MAX),
        (f"{'9' * 9000}%", 5, INT32_MAX, INT32_MAX), (f"{'9' * 9000}%", 0, 0, 0), (f"{'0' * 9000}25%", 8, 2, 2),
    ],
    ids=str,
)  # fmt: skip
def test_a_share_is_rounded_and_is_never_more_than_a_count_can_be(
    value: int | str, total: int, up: int, down: int
) -> None:
    assert (scaled(value, total, up=True), scaled(value, total, up=False)) == (up, down)
