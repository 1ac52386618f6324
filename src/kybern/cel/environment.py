"""The one interface: an environment compiles expressions, a program evaluates them.

    environment = Environment({"object": DYN, "params": DYN})
    program = environment.compile("object.spec.replicas <= params.max", BOOL)     # CompileFailed tells every problem
    program.evaluate({"object": {...}, "params": {...}}, Budget(10_000_000))      # EvaluationError, CostLimitExceeded

- A call stops when it has cost `CALL_COST_MAX` or what is left of the budget, whichever is less.
- `program.estimate` is what one evaluation can cost at most, from the bounds of the variables' types.
- What an expression can reach is in the libraries and the variables: it has no clock, no files and no network.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.cel.check import Checker
from kybern.cel.compile import Compiler
from kybern.cel.costs import Span
from kybern.cel.errors import CompileFailed, CostLimitExceeded, EvaluationError, Problem
from kybern.cel.estimate import estimated
from kybern.cel.frame import Frame
from kybern.cel.functions import Functions
from kybern.cel.libraries import KUBERNETES
from kybern.cel.parse import TOO_DEEP, parse
from kybern.cel.types import ObjectType, Type

CALL_COST_MAX = 1_000_000


class Budget:
    """What several evaluations may cost together: all the rules of one object, say."""

    __slots__ = ("at_once", "left")

    def __init__(self, limit: int, at_once: int | None = None) -> None:
        """`at_once`: what may be spent while others wait; whoever needs more gets `TakesLong`, and may begin anew where
        nobody does."""
        self.left = limit
        self.at_once = at_once


class OutOfBudget(CostLimitExceeded):
    """It was not this call that was too dear, but all of them together."""


class TakesLong(Exception):
    """More than was allowed at once. It is nobody's fault, and no value either."""


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
            compiler = Compiler()
            run, cost = compiler.compiled(root)
            span = estimated(root).cost
        except RecursionError:
            raise CompileFailed("", [Problem(TOO_DEEP)]) from None
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
        frame = Frame(values, self._slots, limit)
        try:
            frame.spend(self._cost)
            return self._run(frame)
        except CostLimitExceeded:
            if limit < whole:
                raise TakesLong from None
            if limit < CALL_COST_MAX:
                raise OutOfBudget from None
            raise
        except RecursionError:
            raise EvaluationError(TOO_DEEP) from None
        finally:
            spent = limit - max(frame.left, 0)
            budget.left -= spent
            if budget.at_once is not None:
                budget.at_once -= spent
