"""From a request to the rule that is meant for it: the specification's order of precedence, as values.

Hostname first, the most exact; then an exact path, an expression, a longer prefix, a method, more headers, more query parameters; of
equals the older route's, then the first by name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import re2

from kybern.network.gateway.attaching import Attached
from kybern.network.gateway.objects import RouteFilter, RouteMatch, RouteRule, ValueMatch
from kybern.network.ingress.routing import Target, bare_host


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


@dataclass(frozen=True, slots=True)
class Hosts:
    """The rules of one port, by hostname."""

    by_host: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    def knows(self, host: str) -> bool:
        return any(name in self.by_host for name in names_of(host))

    def find(self, host: str, request: Asked) -> Rule | None:
        for name in names_of(host):
            for rule in self.by_host.get(name, ()):
                if matches(rule.match, request):
                    return rule
        return None


def names_of(host: str) -> Iterable[str]:
    """The hostnames that a request's host falls under, the most exact first; "" is every host."""
    labels = bare_host(host).split(".")
    return (".".join(labels), *(f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels))), "")


def hosts(found: Iterable[tuple[Attached, Sequence[Rule]]]) -> Hosts:
    by_host: dict[str, list[Rule]] = {}
    for attached, rules in found:
        for name in attached.hostnames or ("",):
            by_host.setdefault(name, []).extend(rules)
    return Hosts({name: tuple(sorted(rules, key=precedence)) for name, rules in by_host.items()})


PATHS = {
    "Exact": 0,
    "RegularExpression": 1,
    "PathPrefix": 2,
}  # of expressions, each implementation may say where they are


def precedence(rule: Rule) -> tuple[object, ...]:
    match = rule.match
    return (
        PATHS[match.path.type], -len(match.path.value), match.method is None, -len(match.headers),
        -len(match.query_params), rule.age,
    )  # fmt: skip


def matches(match: RouteMatch, request: Asked) -> bool:
    return (
        PATH_MATCHES[match.path.type](match.path.value, request.path)
        and match.method in (None, request.method)
        and all(has(one, request.headers.get(one.name.lower())) for one in match.headers)
        and all(has(one, request.query.get(one.name)) for one in match.query_params)
    )


def has(wanted: ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    return value == wanted.value if wanted.type == "Exact" else fully(wanted.value, value)


def is_prefix(prefix: str, path: str) -> bool:
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(f"{bare}/") or not bare


def fully(pattern: str, text: str) -> bool:
    try:
        return re2.fullmatch(pattern, text) is not None
    except re2.error:
        return False  # no expression matches nothing


PATH_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "Exact": lambda wanted, path: path == wanted,
    "PathPrefix": is_prefix,
    "RegularExpression": fully,
}
