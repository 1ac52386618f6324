"""Completion indexes as text: `1,3-5,7`, as a Job's status tells them."""

from collections.abc import Iterable

from kybern.api.core_v1 import Pod
from kybern.api.numbers import integer

INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None) -> set[int]:
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def format(indexes: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for index in sorted(indexes):
        if spans and spans[-1][1] == index - 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(text_of(first, last) for first, last in spans)


def text_of(first: int, last: int) -> str:
    """Two neighbours are listed, three are a range."""
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def index_of(pod: Pod) -> int:
    """-1 where it has none."""
    index = integer((pod.metadata.annotations or {}).get(INDEX))
    return -1 if index is None or index < 0 else index
