"""The macros: calls that are not evaluated as calls, because an argument of theirs names a variable or is evaluated often."""

from kybern.cel.errors import Problem
from kybern.cel.syntax import Bind, Call, Comprehension, Ident, Literal, Node, Select
from kybern.cel.tokens import Unreadable

SORTED = "@sorted"
"""What no expression can name."""
ONE_NAME = {"all": "all", "exists": "exists", "exists_one": "exists_one", "existsOne": "exists_one", "filter": "filter"}


def expand(at: int, function: str, target: Node | None, args: list[Node]) -> Node | None:
    """The node that the macro stands for; None where it is an ordinary call."""
    if target is None:
        return has(at, args) if function == "has" and len(args) == 1 else None
    if function in ("optMap", "optFlatMap") and len(args) == 2:
        name = variable(args[0], f"{function}() variable name must be a simple identifier")
        return Bind(at, name, target, args[1], function)
    if function == "sortBy" and len(args) == 2:
        return sort_by(at, target, args)
    return loop(at, function, target, args)


def sort_by(at: int, target: Node, args: list[Node]) -> Node:
    """The list is worked out once: sorted are its elements, by what the expression makes of them."""
    keys = Comprehension(at, "map", names(args[:1]), Ident(at, SORTED), None, args[1])
    return Bind(at, SORTED, target, Call(at, "@sortByAssociatedKeys", [Ident(at, SORTED), keys], member=True))


def has(at: int, args: list[Node]) -> Node:
    operand = args[0]
    if not isinstance(operand, Select) or operand.mode:
        raise Unreadable(Problem("invalid argument to has() macro", operand.at))
    return Select(at, operand.operand, operand.field, "test")


def loop(at: int, function: str, target: Node, args: list[Node]) -> Node | None:
    kind = ONE_NAME.get(function)
    if kind is not None and len(args) == 2:
        return Comprehension(at, kind, names(args[:1]), target, args[1], None)
    if kind not in (None, "filter") and len(args) == 3:
        return Comprehension(at, str(kind), names(args[:2]), target, args[2], None)
    if function == "map" and len(args) in (2, 3):
        return Comprehension(at, "map", names(args[:1]), target, args[1] if len(args) == 3 else None, args[-1])
    if function in ("transformList", "transformMap", "transformMapEntry") and len(args) in (3, 4):
        return Comprehension(at, function, names(args[:2]), target, args[2] if len(args) == 4 else None, args[-1])
    return None


def names(args: list[Node]) -> tuple[str, ...]:
    found = tuple(variable(arg, "argument must be a simple name") for arg in args)
    if len(set(found)) < len(found):
        raise Unreadable(Problem("duplicate variable name", args[1].at))
    return found


def variable(arg: Node, otherwise: str) -> str:
    if not isinstance(arg, Ident) or isinstance(arg, Literal):
        raise Unreadable(Problem(otherwise, arg.at))
    return arg.name
