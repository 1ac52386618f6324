"""Cron schedules: five fields, in a time zone. When is the next time, when was the last?

- A day fits when its day of the month and its day of the week do; where both are restricted, one of them is enough.
- A time that the clock skips in spring does not happen; one that it shows twice in autumn happens twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS_AHEAD_MAX = 366 * 5  # a schedule that has no time in five years, the 31st of February, has none
MISSED_COUNTED_MAX = 100
ASKED_MAX = 1024  # schedules and times that are remembered

MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
SHORTHANDS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schedule:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    every_day: bool
    """The day of the month is not restricted."""
    every_weekday: bool

    def fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date and by_weekday) if self.every_day or self.every_weekday else (by_date or by_weekday)


@lru_cache(maxsize=ASKED_MAX)
def parse(text: str) -> Schedule:
    """ValueError with what is wrong."""
    fields = SHORTHANDS.get(text.strip(), text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {fields}")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        minutes=tuple(sorted(values(minutes, 0, 59, {}))),
        hours=tuple(sorted(values(hours, 0, 23, {}))),
        days=frozenset(values(days, 1, 31, {})),
        months=frozenset(values(months, 1, 12, MONTHS)),
        weekdays=frozenset(value % 7 for value in values(weekdays, 0, 7, WEEKDAYS)),
        every_day=days[0] in "*?",
        every_weekday=weekdays[0] in "*?",
    )


def values(field: str, first: int, last: int, names: dict[str, int]) -> Iterator[int]:
    for part in field.split(","):
        span, slash, step = part.partition("/")
        low, dash, high = span.partition("-")
        if span in ("*", "?"):
            start, end = first, last if last != 7 else 6
        else:
            start = number(low, names)
            end = number(high, names) if dash else (last if slash else start)
        width = number(step, {}) if slash else 1
        if not (first <= start <= end <= last) or width < 1:
            raise ValueError(f"{part} is not within {first}-{last}")
        yield from range(start, end + 1, width)


def number(text: str, names: dict[str, int]) -> int:
    found = names.get(text.lower())
    if found is not None:
        return found
    if not text.isdecimal():
        raise ValueError(f"failed to parse number: {text!r}")
    return int(text)


def zone(name: str | None) -> ZoneInfo:
    """ValueError for a zone that nobody knows."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"unknown time zone {name}") from error


@lru_cache(maxsize=ASKED_MAX)
def next_after(schedule: Schedule, moment: float, tz: ZoneInfo) -> float | None:
    """The first time later than `moment`, in seconds since 1970; None when there is none. A CronJob asks again and again
    what comes after the last time that it was served."""
    local = datetime.fromtimestamp(moment, tz)
    for ahead in range(DAYS_AHEAD_MAX):
        day = local.date() + timedelta(days=ahead)
        if not schedule.fits(day):
            continue
        for hour in schedule.hours:
            if ahead == 0 and hour < local.hour - 1:
                continue
            found = [time for time in times(day, hour, schedule, tz) if time > moment]
            if found:
                return min(found)
    return None


def times(day: date, hour: int, schedule: Schedule, tz: ZoneInfo) -> Iterator[float]:
    for minute in schedule.minutes:
        for fold in (0, 1):
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=tz, fold=fold)
            back = local.astimezone(UTC).astimezone(tz)
            if (back.hour, back.minute) == (hour, minute):
                yield local.timestamp()


@dataclass(frozen=True, slots=True)
class Missed:
    last: float | None
    """The last time that has come, and not been served."""
    count: int
    next: float | None
    """The first one that has not come."""


def missed(schedule: Schedule, since: float, now: float, tz: ZoneInfo) -> Missed:
    """The times after `since` and not after `now`. The count stops a little above MISSED_COUNTED_MAX."""
    last, count, at = None, 0, next_after(schedule, min(since, now), tz)
    while at is not None and at <= now:
        last, count = at, count + 1
        if count > MISSED_COUNTED_MAX:
            last = latest(schedule, last, now, tz)
        at = next_after(schedule, last, tz)
    return Missed(last, count, at)


def latest(schedule: Schedule, known: float, now: float, tz: ZoneInfo) -> float:
    """The last time up to `now`, looked for in ever longer stretches before it."""
    stretch = 3600.0
    while now - stretch > known:
        at = next_after(schedule, now - stretch, tz)
        if at is not None and at <= now:
            known = at
            break
        stretch *= 4
    at = next_after(schedule, known, tz)
    while at is not None and at <= now:
        known, at = at, next_after(schedule, at, tz)
    return known
