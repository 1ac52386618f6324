"""Does a node have what a node selector asks of its labels and of its name?

The rule of pods' node affinity, of volumes, devices and claims, and the last look of a kubelet; the scheduler has it over
columns of nodes beside this (`scheduler/plugins/node_affinity.py`). The source is upstream's component-helpers, nodeaffinity.
"""

from kybern.api.core_v1 import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec
from kybern.api.numbers import compares


def fits(spec: PodSpec, node: Node) -> bool:
    """The pod's nodeSelector and required node affinity."""
    labels = node.metadata.labels or {}
    if not (spec.node_selector or {}).items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    return selects(affinity.required_during_scheduling_ignored_during_execution if affinity else None, node)


def selects(selector: NodeSelector | None, node: Node) -> bool:
    """One of its terms is met; no selector at all selects every node."""
    return selector is None or any(term_holds(term, node) for term in selector.node_selector_terms)


def term_holds(term: NodeSelectorTerm, node: Node) -> bool:
    """Every requirement of the term; a term that requires nothing is met by none."""
    labels, fields = node.metadata.labels or {}, {"metadata.name": node.metadata.name or ""}
    asked = [(one, labels.get(one.key)) for one in term.match_expressions or ()]
    asked += [(one, fields.get(one.key)) for one in term.match_fields or ()]
    return bool(asked) and all(requirement_holds(requirement, value) for requirement, value in asked)


def requirement_holds(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    values = requirement.values or ()
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return len(values) == 1 and compares(value, requirement.operator, values[0])
    return False
