from datetime import UTC, datetime

import pytest

from kybern.controllers.cronjob.schedule import missed, next_after, parse, zone


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def following(schedule: str, start: str, count: int = 1, tz: str = "UTC") -> list[str]:
    found, moment = [], at(start)
    for _ in range(count):
        moment = next_after(parse(schedule), moment, zone(tz)) or 0.0
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


def test_every_minute() -> None:
    assert following("* * * * *", "2026-01-01 23:58:30", 2) == ["2026-01-01 23:59", "2026-01-02 00:00"]


def test_the_next_time_is_later_than_now() -> None:
    assert following("0 * * * *", "2026-01-01 01:00") == ["2026-01-01 02:00"]


def test_steps_ranges_and_lists() -> None:
    assert following("*/20 9-10 * * 1-5", "2026-01-02 09:50", 3) == [
        "2026-01-02 10:00", "2026-01-02 10:20", "2026-01-02 10:40",
    ]  # fmt: skip
    assert following("5,10 0 * * *", "2026-01-01 00:05") == ["2026-01-01 00:10"]


def test_names_and_shorthands() -> None:
    assert following("0 0 1 feb *", "2026-01-01") == ["2026-02-01 00:00"]
    assert following("0 0 * * SUN", "2026-01-01") == ["2026-01-04 00:00"]
    assert following("0 0 * * 7", "2026-01-01") == ["2026-01-04 00:00"]
    assert following("@monthly", "2026-01-01 00:00") == ["2026-02-01 00:00"]


def test_a_day_of_the_month_or_a_day_of_the_week_is_enough() -> None:
    assert following("0 0 13 * 5", "2026-03-01", 3) == ["2026-03-06 00:00", "2026-03-13 00:00", "2026-03-20 00:00"]


def test_a_day_that_never_comes() -> None:
    assert next_after(parse("0 0 31 2 *"), at("2026-01-01"), zone(None)) is None


def test_the_29th_of_february_is_waited_for() -> None:
    assert following("0 0 29 2 *", "2026-01-01") == ["2028-02-29 00:00"]


def test_a_time_in_another_zone() -> None:
    assert following("0 9 * * *", "2026-07-01", tz="Europe/Berlin") == ["2026-07-01 07:00"]


def test_a_time_that_the_clock_skips_does_not_happen() -> None:
    assert following("30 2 * * *", "2026-03-28 12:00", 2, tz="Europe/Berlin") == [
        "2026-03-30 00:30",
        "2026-03-31 00:30",
    ]


def test_a_time_that_the_clock_shows_twice_happens_twice() -> None:
    assert following("30 2 * * *", "2026-10-24 12:00", 2, tz="Europe/Berlin") == [
        "2026-10-25 00:30",
        "2026-10-25 01:30",
    ]


@pytest.mark.parametrize("wrong", ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"])
def test_a_schedule_that_cannot_be_understood(wrong: str) -> None:
    with pytest.raises(ValueError):
        parse(wrong)


def test_of_the_missed_times_the_last_one_counts() -> None:
    found = missed(parse("*/10 * * * *"), at("2026-01-01 00:00"), at("2026-01-01 00:35"), zone(None))
    assert (found.last, found.count) == (at("2026-01-01 00:30"), 3)


def test_many_missed_times_are_not_all_counted() -> None:
    found = missed(parse("* * * * *"), at("2026-01-01 00:00"), at("2026-06-01 00:00:30"), zone(None))
    assert (found.last, found.count) == (at("2026-06-01 00:00"), 101)
