"""The one interface: an environment compiles expressions, a program evaluates them.

    environment = Environment({"object": DYN, "params": DYN})
    program = environment.compile("object.spec.replicas <= params.max", BOOL)     # CompileFailed tells every problem
    program.evaluate({"object": {...}, "params": {...}}, Budget(10_000_000))      # EvaluationError, CostLimitExceeded

- A call stops when it has cost `CALL_COST_MAX` or what is left of the budget, whichever is less, or takes too long.
- `program.estimate` is what one evaluation can cost at most, from the bounds of the variables' types.
- What an expression can reach is in the libraries and the variables: it has no clock, no files and no network.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from kybern.aio.beside import SECONDS_AT_ONCE, TakesLong
from kybern.cel.check import Checker
from kybern.cel.compile import Compiler
from kybern.cel.costs import Span
from kybern.cel.errors import CompileFailed, CostLimitExceeded, EvaluationError, Problem, Unusable
from kybern.cel.estimate import ROOT, ZERO, by_type, estimated
from kybern.cel.frame import Frame
from kybern.cel.functions import Functions
from kybern.cel.libraries import KUBERNETES
from kybern.cel.parse import TOO_DEEP, parse
from kybern.cel.substitution import TooComplex
from kybern.cel.types import ObjectType, Type

TOO_COMPLEX = "expression type complexity limit exceeded"
CALL_COST_MAX = 1_000_000
SECONDS_MAX = 0.8
"""Of a processor, for all evaluations of one budget."""
SLICE, SLICE_AT_ONCE = 20_000, 200
"""Of the cost, between two looks at the time: a few milliseconds of what is usual, some forty of the dearest calls."""


class Budget:
    """What several evaluations may cost together: all the rules of one object, say."""

    __slots__ = ("at_once", "clock", "left", "until")

    def __init__(self, limit: int, at_once: int | None = None, clock: Callable[[], float] = time.thread_time) -> None:
        """`at_once`: what may be spent while others wait; whoever needs more gets `TakesLong`, and may begin anew where
        nobody does."""
        self.left = limit
        self.at_once = at_once
        self.clock = clock
        self.until: float | None = None

    def in_time(self) -> None:
        """OutOfBudget, or TakesLong, where it has taken longer than the limits are meant to let it: some calls are dearer
        here than upstream."""
        now = self.clock()
        if self.until is None:
            self.until = now + (SECONDS_MAX if self.at_once is None else SECONDS_AT_ONCE)
        if now > self.until:
            raise OutOfBudget if self.at_once is None else TakesLong


class OutOfBudget(CostLimitExceeded):
    """It was not this call that was too dear, but all of them together."""


class Environment:
    def __init__(
        self,
        variables: Mapping[str, Type],
        *,
        functions: Functions = KUBERNETES,
        structs: Callable[[str], ObjectType | None] = lambda name: None,
    ) -> None:
        """`structs` finds the types that an expression may build by name: `Object.spec{...}`."""
        self.variables = dict(variables)
        self.functions = functions
        self.structs = structs

    def extended(self, variables: Mapping[str, Type]) -> "Environment":
        """The same, with more variables."""
        return Environment({**self.variables, **variables}, functions=self.functions, structs=self.structs)

    def compile(self, expression: str, *results: Type) -> "Program":
        """CompileFailed where anything is wrong with it, or where it is of none of the `results`."""
        root = parse(expression)
        checker = Checker(self.variables, self.functions, self.structs)
        try:
            checker.check(root)
            if checker.problems:
                raise CompileFailed(expression, checker.problems)
            check_result(expression, root.type, results)
            if checker.unusable:
                raise Unusable(expression, checker.unusable)
            compiler = Compiler()
            run, cost = compiler.compiled(root)
            subject = self.variables.get("self")
            span = estimated(root, {ROOT: by_type(subject, ZERO)} if subject is not None else {}).cost
        except RecursionError:
            raise CompileFailed("", [Problem(TOO_DEEP)]) from None
        except TooComplex:
            raise CompileFailed("", [Problem(TOO_COMPLEX)]) from None
        return Program(expression, root.type, run, cost, compiler.slots, span)


def check_result(expression: str, found: Type, wanted: tuple[Type, ...]) -> None:
    if not wanted or found in wanted or found.kind == "dyn":
        return
    told = str(wanted[0]) if len(wanted) == 1 else f"one of types [{' '.join(map(str, wanted))}]"
    raise WrongResult(expression, f"must evaluate to {told}")


class WrongResult(CompileFailed):
    """It is right in itself, but not what is asked for here."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__(source, [Problem(message)])
        self.args = (message,)

    def told(self) -> str:
        return str(self)


class Program:
    __slots__ = ("_cost", "_run", "_slots", "estimate", "expression", "type")

    def __init__(self, expression: str, type_: Type, run: Any, cost: int, slots: int, estimate: Span) -> None:
        self.expression = expression
        self.type = type_
        self.estimate = estimate
        self._run = run
        self._cost = cost
        self._slots = slots

    def evaluate(self, values: Mapping[str, Any], budget: Budget) -> Any:
        whole = min(budget.left, CALL_COST_MAX)
        limit = whole if budget.at_once is None else min(whole, budget.at_once)
        slice_ = SLICE if budget.at_once is None else SLICE_AT_ONCE
        frame = Frame(values, self._slots, limit, slice_, budget.in_time)
        try:
            budget.in_time()
            frame.spend(self._cost)
            return self._run(frame)
        except OutOfBudget:
            budget.left = 0
            raise
        except CostLimitExceeded:
            if limit < whole:
                raise TakesLong from None
            if limit < CALL_COST_MAX:
                raise OutOfBudget from None
            raise
        except RecursionError:
            raise EvaluationError(TOO_DEEP) from None
        finally:
            spent = limit - max(frame.left, 0) - frame.rest
            budget.left = max(budget.left - spent, 0)
            if budget.at_once is not None:
                budget.at_once -= spent
