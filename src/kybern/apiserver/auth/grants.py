"""A list of policy rules, compiled: whether they allow something is a few dictionary look-ups, however many they are.

- `verb → (group, resource) → names`, with `*` as a key of its own in each place; `names` is None for every object.
- A rule's resource `pods/log` is only that subresource, `*/scale` the subresource of every resource, `*` both.
- A question may itself contain `*`: then only a rule with `*` in that place allows it, which is what "may this user
  grant that rule" asks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kybern.api.rbac_v1 import PolicyRule

ALL = "*"
Names = frozenset[str] | None


@dataclass(slots=True)
class Grants:
    resources: dict[str, dict[tuple[str, str], Names]] = field(default_factory=dict)
    urls: dict[str, set[str]] = field(default_factory=dict)
    url_prefixes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[PolicyRule, ...] = ()

    def allows(self, verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
        whole = f"{resource}/{subresource}" if subresource else resource
        for asked in (verb, ALL):
            table = self.resources.get(asked)
            if table is None:
                continue
            for api_group in (group, ALL):
                for key in (whole, ALL, f"*/{subresource}") if subresource else (whole, ALL):
                    if (api_group, key) in table:
                        names = table[api_group, key]
                        if names is None or name in names:
                            return True
        return False

    def allows_url(self, verb: str, path: str) -> bool:
        return any(
            path in self.urls.get(asked, ()) or path.startswith(self.url_prefixes.get(asked, ()))
            for asked in (verb, ALL)
        )

    def covers(self, rule: PolicyRule) -> bool:
        """Whether a rule of one verb, one resource and at most one name grants no more than these do."""
        if rule.non_resource_urls:
            return all(self.allows_url(verb, url) for verb in rule.verbs for url in rule.non_resource_urls)
        resource, _, subresource = (rule.resources or ("",))[0].partition("/")
        name = rule.resource_names[0] if rule.resource_names else ""
        return self.allows(rule.verbs[0], (rule.api_groups or ("",))[0], resource, subresource, name)


def compile_rules(rules: Iterable[PolicyRule] | None) -> Grants:
    grants = Grants(rules=tuple(rules or ()))
    for rule in grants.rules:
        for verb in rule.verbs:
            for url in rule.non_resource_urls or ():
                grant_url(grants, verb, url)
            for group in rule.api_groups or ():
                for resource in rule.resources or ():
                    grant(grants.resources.setdefault(verb, {}), (group, resource), rule.resource_names)
    return grants


def grant(table: dict[tuple[str, str], Names], key: tuple[str, str], names: tuple[str, ...] | None) -> None:
    former = table.get(key, frozenset())
    table[key] = None if former is None or not names else former | frozenset(names)


def grant_url(grants: Grants, verb: str, url: str) -> None:
    if url.endswith("*"):
        grants.url_prefixes[verb] = (*grants.url_prefixes.get(verb, ()), url.rstrip("*"))
    else:
        grants.urls.setdefault(verb, set()).add(url)


def broken_down(rules: Iterable[PolicyRule]) -> Iterator[PolicyRule]:
    """The same permissions as rules of one verb, one resource and at most one name each."""
    for rule in rules:
        for verb in rule.verbs:
            for url in rule.non_resource_urls or ():
                yield PolicyRule(verbs=(verb,), non_resource_urls=(url,))
            for group in rule.api_groups or ():
                for resource in rule.resources or ():
                    for name in rule.resource_names or (None,):
                        names = (name,) if name else None
                        yield PolicyRule(
                            verbs=(verb,), api_groups=(group,), resources=(resource,), resource_names=names
                        )
