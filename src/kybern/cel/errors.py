"""How an expression can fail, split by when.

CompileFailed          it was wrong when it was written: carries every problem with its place
EvaluationError        its values do not fit: a missing key, a division by zero. `&&`, `||`, `all` and `exists` absorb it
                       where the rest decides alone
CostLimitExceeded      it did more work than it may. Nothing absorbs it
"""

from collections.abc import Iterator
from dataclasses import dataclass

PROBLEMS_TOLD_MAX = 100
TOLD_LENGTH_MAX = 16 * 1024
"""Each problem shows its line."""


@dataclass(frozen=True, slots=True)
class Problem:
    message: str
    offset: int = 0
    """Of the character in the expression."""

    def told(self, source: str) -> str:
        """With the line and a mark beneath it, as upstream prints it."""
        before = source[: self.offset]
        line = before.count("\n") + 1
        column = self.offset - (before.rfind("\n") + 1)
        text = source.split("\n")[line - 1]
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {'.' * column}^"


class CompileFailed(Exception):
    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(told(source, problems)))

    def told(self) -> str:
        """As those who store expressions tell it."""
        return f"compilation failed: {self}"


def told(source: str, problems: list[Problem]) -> Iterator[str]:
    """In the order of their places, as many as upstream tells; of an expression that is one long line, fewer."""
    length = 0
    for index, problem in enumerate(sorted(problems, key=lambda problem: problem.offset)):
        if index == PROBLEMS_TOLD_MAX or length > TOLD_LENGTH_MAX:
            yield f"{len(problems) - index} more errors were truncated"
            return
        text = problem.told(source)
        length += len(text)
        yield text


class Unusable(CompileFailed):
    """It is right as far as types go, but a pattern in it is none."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(source, [Problem(message)])
        self.args = (message,)

    def told(self) -> str:
        return f"program instantiation failed: {self}"


class EvaluationError(Exception):
    pass


class CostLimitExceeded(Exception):
    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def no_such_overload() -> EvaluationError:
    return EvaluationError("no such overload")
