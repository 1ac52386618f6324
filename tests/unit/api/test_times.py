from datetime import UTC, datetime

from kybern.api import times


def test_a_year_has_four_digits_also_in_the_first_centuries() -> None:
    moment = datetime(1, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert times.written(moment) == "0001-01-01T00:00:02Z"
    assert times.written(moment, micro=True) == "0001-01-01T00:00:02.000000Z"
    assert times.normal(times.written(moment, micro=True), micro=True) == "0001-01-01T00:00:02.000000Z"


def test_another_zone_s_moment_is_written_in_utc() -> None:
    assert times.normal("2026-01-01T01:00:00+01:00", micro=False) == "2026-01-01T00:00:00Z"
