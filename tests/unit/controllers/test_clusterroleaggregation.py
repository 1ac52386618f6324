"""ClusterRoles that are the sum of others."""

import asyncio

from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.api.rbac_v1 import AggregationRule, ClusterRole, PolicyRule
from kybern.controllers.clusterroleaggregation import CLUSTERROLE_AGGREGATION, total
from kybern.testing.cluster import running
from kybern.testing.virtual import run

VIEW = "rbac.authorization.k8s.io/aggregate-to-view"


def rule(resource: str) -> PolicyRule:
    return PolicyRule(verbs=("get",), api_groups=("example.com",), resources=(resource,))


def role(name: str, *resources: str, labels: dict[str, str] | None = None) -> ClusterRole:
    return ClusterRole(metadata=ObjectMeta(name=name, labels=labels), rules=tuple(map(rule, resources)))


def test_a_sum_has_every_rule_once_and_never_its_own() -> None:
    selector = LabelSelector(match_labels={"a": "1"})
    whole = ClusterRole(
        metadata=ObjectMeta(name="whole", labels={"a": "1"}), rules=(rule("own"),),
        aggregation_rule=AggregationRule(cluster_role_selectors=(selector,)),
    )  # fmt: skip
    parts = [role("b", "x", "y", labels={"a": "1"}), role("a", "x", labels={"a": "1"}), role("c", "z")]
    assert total(whole, [whole, *parts]) == (rule("x"), rule("y"))


def test_rules_come_selector_by_selector() -> None:
    selectors = tuple(LabelSelector(match_labels={"a": value}) for value in ("2", "1"))
    whole = ClusterRole(
        metadata=ObjectMeta(name="whole"), aggregation_rule=AggregationRule(cluster_role_selectors=selectors)
    )
    assert total(whole, [role("a", "x", labels={"a": "1"}), role("b", "y", labels={"a": "2"})]) == (
        rule("y"),
        rule("x"),
    )


def test_a_labelled_role_reaches_view_edit_and_admin_and_leaves_them_again() -> None:
    async def story() -> None:
        async with running(loops=(CLUSTERROLE_AGGREGATION,)) as cluster:
            before = await cluster.client.get(ClusterRole, "view")
            await cluster.client.create(role("widgets", "widgets", labels={VIEW: "true"}))
            await asyncio.sleep(5)
            for name in ("view", "edit", "admin"):
                assert rule("widgets") in ((await cluster.client.get(ClusterRole, name)).rules or ())
            await cluster.client.delete(ClusterRole, "widgets")
            await asyncio.sleep(5)
            after = await cluster.client.get(ClusterRole, "view")
            assert after.rules == before.rules
            assert rule("widgets") not in ((await cluster.client.get(ClusterRole, "admin")).rules or ())

    run(story())
