"""Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or six decimals (`MicroTime`)."""

from datetime import UTC, datetime

LAYOUT = "2006-01-02T15:04:05Z07:00"  # how upstream names the format in its messages
LAYOUT_MICRO = "2006-01-02T15:04:05.000000Z07:00"


def is_normal(text: str, micro: bool) -> bool:
    """Whether it is written as this server writes it."""
    if len(text) != (27 if micro else 20) or text[-1] != "Z" or text[10] != "T" or text[7] != "-":
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def normal(text: str, micro: bool) -> str:
    """The same moment as this server writes it. ValueError, in upstream's words, where it is none."""
    try:
        if len(text) < 20 or text[10] not in "Tt" or text[7] != "-":
            raise ValueError
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return written(moment, micro)
    except (ValueError, OverflowError):
        layout = LAYOUT_MICRO if micro else LAYOUT
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"') from None


def written(moment: datetime, micro: bool = False) -> str:
    there = moment.astimezone(UTC).replace(tzinfo=None)  # isoformat pads years before 1000, strftime does not
    return there.isoformat(timespec="microseconds" if micro else "seconds") + "Z"
