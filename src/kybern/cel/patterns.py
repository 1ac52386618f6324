"""The regular expressions of expressions: each is compiled once, and sought only where that cannot take too long.

- A search takes at most as many steps as the text has characters for each of the pattern's instructions. Upstream counts with
  the length of the pattern instead, which may have thousands: `(a{1,100}){1,10}`.
- To compile one counts as well where it takes long, which upstream's limit on the whole expression has no need of.
- Patterns may come from users, with what they write, and be megabytes each once they are sought: how many instructions are kept
  is bounded, and not only how many patterns.
"""

import threading
from typing import Any, NamedTuple

from kybern.api import patterns
from kybern.cel.errors import EvaluationError
from kybern.cel.values import Work

INSTRUCTIONS_KEPT = 250_000
"""Of all patterns together; each takes up to 300 bytes."""
INSTRUCTIONS_BESIDE = 100
"""Of which a pattern takes as much beside its own."""
STEPS_FREE = 600_000
"""About a millisecond: what upstream asks for is enough."""
STEPS_A_STEP = 1000
EFFORT_FREE = 200
"""Microseconds."""


class Pattern(NamedTuple):
    expression: Any
    instructions: int

    @property
    def weight(self) -> int:
        return self.instructions + INSTRUCTIONS_BESIDE


class Kept:
    """Those that were compiled last. The loop's thread and the one for long expressions share them."""

    def __init__(self) -> None:
        self.found: dict[str, Pattern] = {}
        self.instructions = 0
        self.lock = threading.Lock()

    def keep(self, source: str, pattern: Pattern) -> None:
        with self.lock:
            if source in self.found:
                return
            self.found[source] = pattern
            self.instructions += pattern.weight
            while self.instructions > INSTRUCTIONS_KEPT:
                oldest = next(iter(self.found))
                self.instructions -= self.found.pop(oldest).weight


KEPT = Kept()


def effort(source: str) -> int:
    """What compiling a pattern costs: nothing, of most."""
    found = patterns.effort(source)
    return found if found > EFFORT_FREE else 0


def compiled(source: str) -> Pattern:
    found = KEPT.found.get(source)
    if found is not None:
        return found
    try:
        expression = patterns.compiled(source)
    except ValueError as error:
        raise EvaluationError(str(error)) from None
    found = Pattern(expression, expression.programsize)
    KEPT.keep(source, found)
    return found


def fitting(pattern: str, text: str, work: Work) -> Any:
    """The compiled pattern, to be sought in this text."""
    if pattern not in KEPT.found:
        work.step(effort(pattern))
    expression, instructions = compiled(pattern)
    steps = instructions * len(text)
    if steps > STEPS_FREE:
        work.step(steps // STEPS_A_STEP)
    return expression
