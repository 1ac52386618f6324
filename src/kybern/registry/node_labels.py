"""Labels of nodes that have another name by now: upstream's warnings, wherever somebody picks nodes by them."""

from collections.abc import Iterator

from kybern.api.core_v1 import NodeSelectorTerm
from kybern.api.meta_v1 import LabelSelector

NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
}


def term_warnings(term: NodeSelectorTerm, at: str) -> Iterator[str]:
    for index, wanted in enumerate(term.match_expressions or ()):
        if wanted.key in NODE_LABELS:
            yield f"{at}.matchExpressions[{index}].key: {wanted.key} is {NODE_LABELS[wanted.key]}"


def selector_warnings(selector: LabelSelector | None, at: str) -> Iterator[str]:
    if selector is None:
        return
    for index, wanted in enumerate(selector.match_expressions or ()):
        if wanted.key in NODE_LABELS:
            yield f"{at}.matchExpressions[{index}].key: {wanted.key} is {NODE_LABELS[wanted.key]}"
    for label in selector.match_labels or {}:
        if label in NODE_LABELS:
            yield f"{at}.matchLabels.{label}: {NODE_LABELS[label]}"
