import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, NodeSelectorRequirement, NodeSelectorTerm
from kybern.api.node_selectors import requirement_holds, term_holds


@pytest.mark.parametrize(
    ("found", "operator", "values", "holds"),
    [
        ("a", "In", ("a",), True), (None, "In", ("a",), False), (None, "NotIn", ("a",), True), ("a", "Exists", (), True),
        (None, "DoesNotExist", (), True), ("5", "Gt", ("4",), True), ("5", "Lt", ("4",), False), ("x", "Gt", ("4",), False),
        (None, "Gt", ("4",), False), ("1_000", "Gt", ("4",), False), ("-5", "Lt", ("-4",), True), ("5", "Gt", ("4", "3"), False),
        ("5", "Near", ("5",), False),
    ],
)  # fmt: skip
def test_requirements(found: str | None, operator: str, values: tuple[str, ...], holds: bool) -> None:
    requirement = NodeSelectorRequirement(key="k", operator=operator, values=values)
    assert requirement_holds(requirement, found) is holds


def test_a_term_asks_for_labels_and_for_the_name_and_one_that_asks_for_nothing_is_met_by_no_node() -> None:
    node = from_builtins(Node, {"metadata": {"name": "n1", "labels": {"zone": "a"}}})
    zone = NodeSelectorRequirement(key="zone", operator="In", values=("a",))
    name = NodeSelectorRequirement(key="metadata.name", operator="In", values=("n1",))
    other = NodeSelectorRequirement(key="metadata.name", operator="In", values=("n2",))
    assert term_holds(NodeSelectorTerm(match_expressions=(zone,), match_fields=(name,)), node)
    assert not term_holds(NodeSelectorTerm(match_expressions=(zone,), match_fields=(other,)), node)
    assert not term_holds(NodeSelectorTerm(), node)
