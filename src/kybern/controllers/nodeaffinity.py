"""Does a node fit what a pod demands of its labels and fields? Rules only."""

from kybern.api.core_v1 import Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec


def fits(spec: PodSpec, node: Node) -> bool:
    """The pod's nodeSelector and required node affinity."""
    labels = node.metadata.labels or {}
    if not (spec.node_selector or {}).items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required is None or any(matches(term, node) for term in required.node_selector_terms)


def matches(term: NodeSelectorTerm, node: Node) -> bool:
    """Every requirement of the term; an empty term matches nothing."""
    labels, fields = node.metadata.labels or {}, {"metadata.name": node.metadata.name or ""}
    if not term.match_expressions and not term.match_fields:
        return False
    return all(holds(found, labels.get(found.key)) for found in term.match_expressions or ()) and all(
        holds(found, fields.get(found.key)) for found in term.match_fields or ()
    )


def holds(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    values = requirement.values or ()
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return compares(requirement.operator, value, values)
    return False


def compares(operator: str, value: str | None, values: tuple[str, ...]) -> bool:
    try:
        number, limit = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > limit if operator == "Gt" else number < limit
