"""From a request to the rule that is meant for it: the specification's order of precedence, as values.

The listener with the most exact hostname, then the route's; then an exact path, an expression, a longer prefix, a method, more headers, more query parameters; of
equals the older route's, then the first by name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import re2

from kybern.network.gateway.attaching import Attached
from kybern.network.gateway.objects import (
    HTTPRoute,
    Listener,
    ParameterMatch,
    PathMatch,
    RouteFilter,
    RouteMatch,
    RouteRule,
    ValueMatch,
)
from kybern.network.ingress.routing import Target, bare_host

EXPRESSIONS_MAX = 1024
SHOWN_MAX = 100  # of an expression, in a condition that holds 32,768 characters
EXPRESSIONS = re2.Options()
EXPRESSIONS.log_errors = False
EXPRESSIONS.max_mem = 128 << 10  # a few milliseconds at most to compile
EXPRESSIONS.never_capture = True  # who follows five hundred groups needs seconds for a path


@dataclass(frozen=True, slots=True)
class Filter:
    filter: RouteFilter
    mirror: Target | None = None
    """Where a copy goes, of a filter that mirrors."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a share of a rule's requests goes. `target` is None for a reference that leads nowhere: those are answered 500."""

    weight: int
    target: Target | None
    filters: tuple["Filter", ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    match: RouteMatch
    rule: RouteRule
    backends: tuple[Backend, ...]
    filters: tuple[Filter, ...] = ()
    route: str = ""
    kind: str = "HTTPRoute"
    age: tuple[str, str, int, int] = ("", "", 0, 0)
    """When its route was made, its name, and its place in it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request rules look at."""

    path: str
    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]


def asked(path: str, query: str, method: str, headers: Mapping[str, str]) -> Asked:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters.setdefault(name, value)
    return Asked(path, method, headers, parameters)


ByHost = Mapping[str, tuple[Rule, ...]]
"""Hostname → its rules, the most exact first."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The rules of one port. A request is led by those of one listener: the one whose hostname is the most exact."""

    by_listener: Mapping[str, ByHost] = field(default_factory=dict)

    def rules(self) -> Iterator[Rule]:
        for by_host in self.by_listener.values():
            for of_host in by_host.values():
                yield from of_host

    def knows(self, host: str) -> bool:
        by_host = self._listener(host)
        return any(name in by_host for name in names_of(host))

    def find(self, host: str, request: Asked) -> Rule | None:
        by_host = self._listener(host)
        for name in names_of(host):
            for rule in by_host.get(name, ()):
                if matches(rule.match, request):
                    return rule
        return None

    def _listener(self, host: str) -> ByHost:
        return next((self.by_listener[name] for name in names_of(host) if name in self.by_listener), {})


def names_of(host: str) -> Iterable[str]:
    """The hostnames that a request's host falls under, the most exact first; "" is every host."""
    labels = bare_host(host).split(".")
    return (".".join(labels), *(f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels))), "")


def hosts(listeners: Iterable[Listener], found: Iterable[tuple[Attached, Sequence[Rule]]]) -> Hosts:
    """`listeners`: all of the port; one without routes leads nowhere, and not to another's."""
    by_listener: dict[str, dict[str, list[Rule]]] = {listener.hostname or "": {} for listener in listeners}
    for attached, rules in found:
        by_host = by_listener[attached.listener.hostname or ""]
        for name in attached.hostnames or ("",):
            by_host.setdefault(name, []).extend(rules)
    return Hosts({
        listener: {name: tuple(sorted(rules, key=precedence)) for name, rules in by_host.items()}
        for listener, by_host in by_listener.items()
    })  # fmt: skip


# Of expressions, each implementation may say where they are. A method of any service is one, and says less than a service.
PATHS = {
    "HTTPRoute": ("Exact", "RegularExpression", "PathPrefix"),
    "GRPCRoute": ("Exact", "PathPrefix", "RegularExpression"),
}


def precedence(rule: Rule) -> tuple[object, ...]:
    match = rule.match
    return (
        PATHS[rule.kind].index(match.path.type), -len(match.path.value), match.method is None, -len(match.headers),
        -len(match.query_params), rule.age,
    )  # fmt: skip


def matches(match: RouteMatch, request: Asked) -> bool:
    return (
        PATH_MATCHES[match.path.type](match.path.value, request.path)
        and match.method in (None, request.method)
        and all(has(one, request.headers.get(one.name.lower())) for one in match.headers)
        and all(has(one, request.query.get(one.name)) for one in match.query_params)
    )


def has(wanted: ValueMatch | ParameterMatch, value: str | None) -> bool:
    if value is None:
        return False
    return value == wanted.value if wanted.type == "Exact" else fully(wanted.value, value)


def is_prefix(prefix: str, path: str) -> bool:
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(f"{bare}/") or not bare


def fully(pattern: str, text: str) -> bool:
    found = compiled(pattern)
    return found is not None and found.fullmatch(text) is not None


@lru_cache(EXPRESSIONS_MAX)
def compiled(pattern: str) -> Any:
    """None where it is no expression, or one too large. Once, for all requests wait meanwhile."""
    try:
        return re2.compile(pattern, EXPRESSIONS)
    except re2.error:
        return None


def unsupported(route: HTTPRoute) -> dict[int, str]:
    """The rules that cannot be followed, by their place, and why: they are dropped, and the route's status says so."""
    found = {}
    for at, rule in enumerate(route.spec.rules):
        bad = next((text for match in rule.matches for text in expressions(match) if compiled(text) is None), None)
        if bad is not None:
            found[at] = f"{bad[:SHOWN_MAX]!r} is no regular expression of RE2, or too large a one"
    return found


def expressions(match: RouteMatch) -> Iterator[str]:
    found: tuple[PathMatch | ValueMatch | ParameterMatch, ...] = (match.path, *match.headers, *match.query_params)
    return (one.value for one in found if one.type == "RegularExpression")


PATH_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "Exact": lambda wanted, path: path == wanted,
    "PathPrefix": is_prefix,
    "RegularExpression": fully,
}
