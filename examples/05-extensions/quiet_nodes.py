"""The scheduler: pods that say `quiet` go nowhere near builds, and everybody else rather to where it is green.

kybern up --simulated-nodes 3 --extension examples/05-extensions/quiet_nodes.py
kubectl label node simulated-1 builds=yes && kubectl label node simulated-2 power=green
"""

from kybern.api.core_v1 import Node, Pod
from kybern.extensions import filters, scores


def label(found: Node | Pod, name: str) -> str:
    return (found.metadata.labels or {}).get(name, "")


@filters
def quiet(pod: Pod, node: Node) -> str:
    return "node(s) had builds" if label(pod, "quiet") and label(node, "builds") else ""


@scores(weight=2)
def green(pod: Pod, node: Node) -> int:
    return 100 if label(node, "power") == "green" else 0
