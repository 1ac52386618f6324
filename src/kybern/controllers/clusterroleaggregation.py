"""ClusterRole aggregation: a ClusterRole with an aggregation rule holds the rules of all those it selects.

`admin`, `edit` and `view` are such sums: a custom resource's author adds to them by labelling a role of their own.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.rbac_v1 import ClusterRole, PolicyRule
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch


async def reconcile(role: ClusterRole, view: View, client: Client, context: Context) -> None:
    if role.aggregation_rule is None or role.metadata.deletion_timestamp is not None:
        return
    rules = total(role, view.list(ClusterRole))
    if rules != (role.rules or ()):
        await client.update(replace(role, rules=rules))


def total(role: ClusterRole, roles: Iterable[ClusterRole]) -> tuple[PolicyRule, ...]:
    """Every rule of the selected roles once, selector by selector, in the order of the roles' names; never its own."""
    selectors = (role.aggregation_rule and role.aggregation_rule.cluster_role_selectors) or ()
    others = sorted((o for o in roles if o.metadata.name != role.metadata.name), key=lambda o: o.metadata.name or "")
    chosen = (o for wanted in map(of_label_selector, selectors) for o in others if wanted.matches(o.metadata.labels))
    return tuple(dict.fromkeys(rule for other in chosen for rule in other.rules or ()))


def selects(role: ClusterRole, other: ClusterRole) -> bool:
    """Never itself."""
    if role.aggregation_rule is None or role.metadata.name == other.metadata.name:
        return False
    selectors = role.aggregation_rule.cluster_role_selectors or ()
    return any(of_label_selector(selector).matches(other.metadata.labels) for selector in selectors)


def sums_of(changed: ClusterRole, view: View) -> list[Key]:
    """The roles that hold this one's rules."""
    return [Key("", role.metadata.name or "") for role in view.list(ClusterRole) if selects(role, changed)]


CLUSTERROLE_AGGREGATION = Controller(
    name="clusterrole-aggregation",
    reconciles=ClusterRole,
    watches=(Watch(ClusterRole, sums_of),),
    by=reconcile,
)
