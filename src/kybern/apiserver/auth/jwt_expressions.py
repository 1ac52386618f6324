"""A user computed from a token's claims by expressions of CEL, and rules that the claims and the user must meet.

An expression that fails, or gives something of another shape, makes the token nobody's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kybern.apiserver.request import User
from kybern.cel import (
    BOOL,
    DYN,
    STRING,
    Budget,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    Program,
    list_of,
    map_of,
)

COST_MAX = 1_000_000  # of everything that one token makes us evaluate
TEXTS = list_of(STRING)
ON_CLAIMS = Environment({"claims": map_of(STRING, DYN)})
ON_USER = Environment({"user": map_of(STRING, DYN)})


class NoUser(Exception):
    """The claims do not make a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtExpressions:
    username: Program | None = None
    groups: Program | None = None
    uid: Program | None = None
    extra: Mapping[str, Program]
    claim_rules: tuple[Program, ...] = ()
    user_rules: tuple[Program, ...] = ()

    def user(self, claims: Mapping[str, Any], found: User) -> User:
        """`found` is what plain claims gave; what has an expression is computed. NoUser."""
        budget, known = Budget(COST_MAX), {"claims": dict(claims)}
        try:
            if not all(rule.evaluate(known, budget) is True for rule in self.claim_rules):
                raise NoUser
            name = found.name if self.username is None else text(self.username.evaluate(known, budget))
            groups = found.groups if self.groups is None else texts(self.groups.evaluate(known, budget))
            uid = found.uid if self.uid is None else text(self.uid.evaluate(known, budget))
            more = {key: texts(program.evaluate(known, budget)) for key, program in self.extra.items()}
            extra = dict(found.extra) | {key: values for key, values in more.items() if values}
            shown = {
                "username": name,
                "groups": list(groups),
                "uid": uid,
                "extra": {k: list(v) for k, v in extra.items()},
            }
            if not name or not all(rule.evaluate({"user": shown}, budget) is True for rule in self.user_rules):
                raise NoUser
        except (EvaluationError, CostLimitExceeded):
            raise NoUser from None
        return User(name, groups, uid, extra)


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise NoUser
    return value


def texts(value: Any) -> tuple[str, ...]:
    """One text or several; none of them empty."""
    listed = (value,) if isinstance(value, str) else value
    if listed is None or not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise NoUser
    return tuple(one for one in listed if one)


def rule(expression: str) -> Program:
    """About claims. CompileFailed."""
    return ON_CLAIMS.compile(expression, BOOL)


def user_rule(expression: str) -> Program:
    return ON_USER.compile(expression, BOOL)


def one_text(expression: str) -> Program:
    return ON_CLAIMS.compile(expression, STRING)


def some_texts(expression: str) -> Program:
    return ON_CLAIMS.compile(expression, STRING, TEXTS, list_of(DYN))
