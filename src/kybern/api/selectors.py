"""Selectors: which objects are meant, by their labels or by their fields.

- `parse_labels("a=b,c in (x,y),!d")` and `of_label_selector(struct)` give a `Selector`; see `matches`.
- `parse_fields("spec.nodeName=n1,status.phase!=Failed")` gives a `FieldSelector`.
- Both raise ValueError in upstream's words. An absent LabelSelector selects nothing, an empty one everything.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kybern.api import names
from kybern.api.invalid import printed
from kybern.api.meta_v1 import LabelSelector
from kybern.api.numbers import compares, integer

Operator = Literal["in", "notin", "=", "==", "!=", "gt", "lt", "exists", "!"]
BINARY_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")

NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return found is not None and found in self.values
            case "notin" | "!=":
                return found is None or found not in self.values
            case "exists":
                return found is not None
            case "!":
                return found is None
            case "gt" | "lt":
                return compares(found, self.operator.capitalize(), self.values[0])


@dataclass(frozen=True, slots=True)
class Selector:
    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        return all(requirement.matches(labels or NO_LABELS) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.nothing and not self.requirements

    def __str__(self) -> str:
        return ",".join(_text(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def _text(requirement: Requirement) -> str:
    key, values = requirement.key, requirement.values
    match requirement.operator:
        case "exists":
            return key
        case "!":
            return f"!{key}"
        case "in" | "notin":
            return f"{key} {requirement.operator} ({','.join(sorted(values))})"
        case "gt" | "lt":
            return f"{key}{'>' if requirement.operator == 'gt' else '<'}{values[0]}"
        case operator:
            return f"{key}{operator}{values[0]}"


# --- from a LabelSelector ---------------------------------------------------------------------------------------------

EXPRESSION_OPERATORS: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def of_label_selector(selector: LabelSelector | None) -> Selector:
    if selector is None:
        return NOTHING
    requirements = [checked(key, "=", (value,)) for key, value in sorted((selector.match_labels or {}).items())]
    for expression in selector.match_expressions or ():
        operator = EXPRESSION_OPERATORS.get(expression.operator)
        if operator is None:
            raise ValueError(f'"{expression.operator}" is not a valid label selector operator')
        requirements.append(checked(expression.key, operator, tuple(expression.values or ())))
    return Selector(tuple(requirements))


def of_labels(labels: Mapping[str, str] | None) -> Selector:
    """An equality for every label: a Service's or a ReplicationController's selector. Absent or empty: everything."""
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted((labels or {}).items())))


def checked(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    """A requirement, or ValueError with everything that is wrong with it."""
    wrong = [*_wrong_key(key), *_wrong_count(operator, values)]
    for index, value in enumerate(values):
        if operator in ("gt", "lt") and integer(value) is None:
            wrong.append(
                f"values[{index}]: Invalid value: {printed(value)}: "
                "for 'Gt', 'Lt' operators, the value must be an integer"
            )
        wrong += [f"values[{index}][{key}]: Invalid value: {printed(value)}: {w}" for w in names.label_value(value)]
    if wrong:
        raise ValueError(wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")
    return Requirement(key, operator, values)


def _wrong_key(key: str) -> Iterator[str]:
    found = names.qualified_name(key)
    if found:
        yield f"<nil>: Invalid value: {printed(key)}: {'; '.join(found)}"


def _wrong_count(operator: Operator, values: tuple[str, ...]) -> Iterator[str]:
    if operator in ("in", "notin") and not values:
        wrong = "for 'in', 'notin' operators, values set can't be empty"
    elif operator in ("=", "==", "!=") and len(values) != 1:
        wrong = "exact-match compatibility requires one single value"
    elif operator in ("exists", "!") and values:
        wrong = "values set must be empty for exists and does not exist"
    elif operator in ("gt", "lt") and len(values) != 1:
        wrong = "for 'Gt', 'Lt' operators, exactly one value is required"
    else:
        return
    yield f"values: Invalid value: {printed(list(values))}: {wrong}"


# --- from a text ------------------------------------------------------------------------------------------------------

SPECIAL = "=!(),<>"
SYMBOLS: dict[str, Operator] = {"=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}


def tokens(text: str) -> list[str]:
    """Words and symbols, in order; the end is an empty text."""
    found, at = [], 0
    while at < len(text):
        mark, start = text[at], at
        at += 1
        if mark.isspace():
            continue
        if mark in "=!":
            while at < len(text) and text[at] == "=" and at - start < 2:
                at += 1
        elif mark not in SPECIAL:
            while at < len(text) and text[at] not in SPECIAL and not text[at].isspace():
                at += 1
        found.append(text[start:at])
    return [*found, ""]


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[min(self.at, len(self.tokens) - 1)]

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while (token := self.peek()) != "":
            if not is_word(token) and token != "!":
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                yield self.requirement()
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            self.separator()

    def separator(self) -> None:
        token = self.next()
        if token not in ("", ","):
            raise ValueError(f"found '{token}', expected: ',' or 'end of string'")
        if token == "," and not is_word(self.peek()) and self.peek() != "!":
            raise ValueError(f"found '{self.peek()}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        key = self.next()
        absent = key == "!"
        if absent:
            key = self.next()
        if not is_word(key):
            raise ValueError(f"found '{key}', expected: identifier")
        for wrong in _wrong_key(key):
            raise ValueError(wrong)
        if absent:
            return Requirement(key, "!")
        if self.peek() in ("", ","):
            return Requirement(key, "exists")
        token = self.next()
        if token in ("in", "notin"):
            return checked(key, "in" if token == "in" else "notin", self.values())
        operator = SYMBOLS.get(token)
        if operator is None:
            raise ValueError(f"found '{token}', expected: {', '.join(BINARY_OPERATORS)}")
        return checked(key, operator, (self.value(),))

    def value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        token = self.next()
        if not is_word(token):
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def values(self) -> tuple[str, ...]:
        token = self.next()
        if token != "(":
            raise ValueError(f"found '{token}' expected: '('")
        found: set[str] = set()
        wanted = True  # a value may stand here; where none does, it is the empty one
        while (token := self.next()) != ")":
            if token == ",":
                if wanted:
                    found.add("")
                wanted = True
            elif not is_word(token) or not wanted:
                raise ValueError(f"found '{token}', expected: ',' or ')'")
            else:
                found.add(token)
                wanted = False
        if wanted:
            found.add("")
        return tuple(sorted(found))


def is_word(token: str) -> bool:
    return token != "" and token[0] not in SPECIAL


def parse_labels(text: str) -> Selector:
    """The query parameter `labelSelector`."""
    return Selector(tuple(_Parser(text).requirements()))


# --- fields -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    path: str
    equal: bool
    value: str


@dataclass(frozen=True, slots=True)
class FieldSelector:
    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """`value_of("spec.nodeName")` gives the object's text there."""
        return all((value_of(term.path) == term.value) == term.equal for term in self.requirements)

    def exact(self, path: str) -> str | None:
        """The one value that is asked for at this path, if there is one."""
        return next((term.value for term in self.requirements if term.equal and term.path == path), None)

    @property
    def everything(self) -> bool:
        return not self.requirements


def parse_fields(text: str) -> FieldSelector:
    """The query parameter `fieldSelector`."""
    return FieldSelector(tuple(_term(text, term) for term in _terms(text) if term))


def _terms(text: str) -> Iterator[str]:
    """Split at commas that no backslash protects."""
    start = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ",":
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]


def _term(whole: str, term: str) -> FieldRequirement:
    for at in range(len(term)):
        for symbol in ("!=", "==", "="):
            if term.startswith(symbol, at):
                value = _unescaped(term[at + len(symbol) :])
                return FieldRequirement(term[:at].strip() if at else "", symbol != "!=", value)
    raise ValueError(f"invalid selector: '{whole}'; can't understand '{term}'")


def _unescaped(text: str) -> str:
    found, at = [], 0
    while at < len(text):
        mark = text[at]
        if mark == "\\":
            at += 1
            mark = text[at : at + 1]
            if mark not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{mark}")
        elif mark in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {mark}")
        found.append(mark)
        at += 1
    return "".join(found)
