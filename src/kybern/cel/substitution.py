"""What the type parameters of one expression have turned out to stand for.

- A parameter is bound once. What an attempt has bound is taken back where it turns out not to fit: `mark`, `undo`.
- Of two parameters the younger is bound to the older, so that a long list of empty lists makes no long chain of them.
- Types share their parts: a short expression can have one that takes for ever to walk through. Two limits end that.
"""

from collections.abc import Mapping

from kybern.cel.functions import Overload
from kybern.cel.types import Type

NULLABLE = ("null", "object", "opaque", "timestamp", "duration")
STEPS_MAX = 500_000
"""For one expression: twice what the longest can take whose types are small."""
PARTS_MAX = 2_000
"""Of one type."""


class TooComplex(Exception):
    """The types of an expression have more parts than anybody could mean."""


class Substitution:
    def __init__(self) -> None:
        self.bound: dict[str, Type] = {}
        self.trail: list[str] = []
        """The bound ones, in the order in which they were."""
        self.fresh_count = 0
        self.steps_left = STEPS_MAX

    # --- parameters ---

    def fresh(self) -> Type:
        self.fresh_count += 1
        return Type("param", f"_var{self.fresh_count}")

    def signature(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        """The parameters and the result, with type parameters of their own."""
        if not overload.is_generic:
            return overload.params, overload.result
        names: dict[str, Type] = {}
        *params, result = (self._renamed(type_, names) for type_ in (*overload.params, overload.result))
        return tuple(params), result

    def _renamed(self, type_: Type, names: dict[str, Type]) -> Type:
        if type_.kind == "param":
            if type_.name not in names:
                names[type_.name] = self.fresh()
            return names[type_.name]
        if not type_.params:
            return type_
        params = tuple(self._renamed(param, names) for param in type_.params)
        return Type(type_.kind, type_.name, params, type_.size_max)

    # --- what they are bound to ---

    def mark(self) -> int:
        return len(self.trail)

    def since(self, mark: int) -> Mapping[str, Type]:
        return {name: self.bound[name] for name in self.trail[mark:]}

    def undo(self, mark: int) -> None:
        for name in self.trail[mark:]:
            del self.bound[name]
        del self.trail[mark:]

    def learn(self, found: Mapping[str, Type]) -> None:
        self.bound.update(found)
        self.trail += found

    def resolve(self, type_: Type, unknown: Type | None = None) -> Type:
        """The type with what is known of its parameters put in; `unknown` for those that stayed open."""
        type_ = self._seen(type_)
        if type_.kind == "param":
            return unknown or type_
        if not type_.params:
            return type_
        self.step()
        before = self.steps_left
        params = tuple([self.resolve(param, unknown) for param in type_.params])
        if before - self.steps_left > PARTS_MAX:
            raise TooComplex
        return Type(type_.kind, type_.name, params, type_.size_max)

    def assignable(self, to: Type, given: Type) -> bool:
        """Whether a value of type `given` may stand where `to` is wanted. Binds parameters; on False some may be bound."""
        self.step()
        to, given = self._seen(to), self._seen(given)
        if to.kind in ("dyn", "error") or given.kind in ("dyn", "error"):
            return True
        if to.kind == "param" or given.kind == "param":
            return self._bind(to, given)
        if given.kind == "null":
            return to.kind in NULLABLE
        if to.kind != given.kind or to.name != given.name or len(to.params) != len(given.params):
            return to.kind == given.kind == "type"
        return to.kind == "type" or all(map(self.assignable, to.params, given.params))

    def _bind(self, to: Type, given: Type) -> bool:
        if to == given:
            return True
        open_, other = (to, given) if to.kind == "param" else (given, to)
        if other.kind == "param" and age_of(open_) < age_of(other):
            open_, other = other, open_
        if self._within(open_, other):
            return False
        self.bound[open_.name] = other
        self.trail.append(open_.name)
        return True

    def _seen(self, type_: Type) -> Type:
        while type_.kind == "param" and type_.name in self.bound:
            self.step()
            type_ = self.bound[type_.name]
        return type_

    def _within(self, open_: Type, other: Type) -> bool:
        self.step()
        other = self._seen(other)
        return other == open_ or any(self._within(open_, param) for param in other.params)

    def step(self, count: int = 1) -> None:
        self.steps_left -= count
        if self.steps_left < 0:
            raise TooComplex


def age_of(param: Type) -> int:
    """Its number: who is younger has a greater one."""
    return int(param.name.removeprefix("_var"))
