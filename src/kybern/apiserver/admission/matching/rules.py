"""Rules: which operations on which resources of which versions. `*` stands for all, `pods/*` for all of a pod's parts."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from kybern.registry.resource import Resource


class Rule(Protocol):
    """`RuleWithOperations`, and `NamedRuleWithOperations` of policies."""

    @property
    def api_groups(self) -> tuple[str, ...] | None: ...
    @property
    def api_versions(self) -> tuple[str, ...] | None: ...
    @property
    def operations(self) -> tuple[str, ...] | None: ...
    @property
    def resources(self) -> tuple[str, ...] | None: ...
    @property
    def scope(self) -> str | None: ...


def holds(rule: Rule, resource: Resource, subresource: str, operation: str) -> bool:
    kind = resource.kind
    return (
        listed(rule.operations, operation)
        and listed(rule.api_groups, kind.group)
        and listed(rule.api_versions, kind.version)
        and in_scope(rule.scope, namespaced=kind.namespaced)
        and any(names(each, kind.plural, subresource) for each in rule.resources or ())
    )


def listed(values: Sequence[str] | None, wanted: str) -> bool:
    return values is not None and ("*" in values or wanted in values)


def in_scope(scope: str | None, *, namespaced: bool) -> bool:
    return scope in (None, "*") or (scope == "Namespaced") == namespaced


def names(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, part = pattern.partition("/")
    return resource in ("*", plural) and (part == subresource or part == "*")


def first_holding(
    rules: Iterable[Rule], resources: Iterable[Resource], subresource: str, operation: str
) -> Resource | None:
    """The first of the resources (equivalent versions of one) that a rule is about."""
    rules = tuple(rules)
    for resource in resources:
        if any(holds(rule, resource, subresource, operation) for rule in rules):
            return resource
    return None
