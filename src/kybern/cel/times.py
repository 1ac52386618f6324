"""Timestamps and durations as texts and parts, exact to the nanosecond: Python's own stop at the microsecond."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from kybern.cel.errors import EvaluationError
from kybern.cel.values import INT_MAX, INT_MIN, Duration, Timestamp

SECOND = 10**9
UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
PIECE = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
DURATION = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)")
TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?([Zz]|[-+][0-9]{2}:[0-9]{2})"
)
OFFSET = re.compile(r"([-+]?)([0-9]{1,2}):([0-9]{2})")
TEXT_LENGTH_MAX = 128
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = -62135596800 * SECOND, 253402300799 * SECOND + SECOND - 1


def duration(text: str) -> Duration:
    """Go's notation: `1h30m`, `-1.5s`, `250ms`."""
    if len(text) > TEXT_LENGTH_MAX or DURATION.fullmatch(text) is None:
        raise EvaluationError(f'time: invalid duration "{text[:TEXT_LENGTH_MAX]}"')
    nano = 0
    for whole, fraction, unit in PIECE.findall(text):
        scale = UNITS[unit]
        nano += int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
    return bounded_duration(-nano if text.startswith("-") else nano)


def bounded_duration(nano: int) -> Duration:
    if not INT_MIN <= nano <= INT_MAX:
        raise EvaluationError("integer overflow")
    return Duration(nano)


def bounded_timestamp(nano: int, offset: int = 0) -> Timestamp:
    if not FIRST <= nano <= LAST:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nano, offset)


def later(value: Timestamp, nano: int) -> Timestamp:
    return bounded_timestamp(value.nano + nano, value.offset)


def timestamp(text: str) -> Timestamp:
    match = TIMESTAMP.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if match is None:
        raise EvaluationError(f'cannot parse "{text[:TEXT_LENGTH_MAX]}" as a timestamp')
    day, clock, fraction, zone = match.groups("")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        since = moment - EPOCH
    except (ValueError, OverflowError):
        raise EvaluationError(f'cannot parse "{text}" as a timestamp') from None
    offset = (moment.utcoffset() or timedelta()) // timedelta(minutes=1)
    nano = (since.days * 86400 + since.seconds) * SECOND + int(fraction.ljust(9, "0") or "0")
    return bounded_timestamp(nano, offset)


def text_of_timestamp(value: Timestamp) -> str:
    seconds, nano = divmod(value.nano, SECOND)
    moment = EPOCH + timedelta(seconds=seconds, minutes=value.offset)
    fraction = f".{nano:09d}".rstrip("0") if nano else ""
    hours, minutes = divmod(abs(value.offset), 60)
    zone = f"{'-' if value.offset < 0 else '+'}{hours:02d}:{minutes:02d}" if value.offset else "Z"
    return f"{moment.isoformat()[:19]}{fraction}{zone}"


def text_of_duration(value: Duration) -> str:
    """In seconds, as protobuf writes it in JSON."""
    seconds, nano = divmod(abs(value.nano), SECOND)
    fraction = f".{nano:09d}".rstrip("0") if nano else ""
    return f"{'-' if value.nano < 0 else ''}{seconds}{fraction}s"


def zone(name: str) -> tzinfo:
    match = OFFSET.fullmatch(name)
    if match is not None:
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset < timedelta(hours=24):
            return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):
        raise EvaluationError(f"unknown time zone {name}") from None


def moment(value: Timestamp, where: str = "UTC") -> datetime:
    """To the second, in that time zone."""
    try:
        return (EPOCH + timedelta(seconds=value.nano // SECOND)).astimezone(zone(where))
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None
