"""CEL, the Common Expression Language, as Kubernetes speaks it.

An expression's way: `tokens` → `parse` (with `macros`) → `syntax`, a tree → `check`, which writes types onto it and tells
every problem → `compile`, closures → evaluation, which charges what it does to a budget. `estimate` reckons before it runs
what it can cost. `standard` and `libraries` hold the functions; each overload has its types, its call and its cost.

Start with `environment`.
"""

from kybern.cel.environment import Budget, Environment, OutOfBudget, Program, WrongResult
from kybern.cel.errors import CompileFailed, CostLimitExceeded, EvaluationError, Problem
from kybern.cel.types import BOOL, DYN, INT, STRING, Field, ObjectType, Type, list_of, map_of, object_of

__all__ = [
    "BOOL",
    "DYN",
    "INT",
    "STRING",
    "Budget",
    "CompileFailed",
    "CostLimitExceeded",
    "Environment",
    "EvaluationError",
    "Field",
    "ObjectType",
    "OutOfBudget",
    "Problem",
    "Program",
    "Type",
    "WrongResult",
    "list_of",
    "map_of",
    "object_of",
]
