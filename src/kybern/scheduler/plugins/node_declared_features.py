"""NodeDeclaredFeatures: a pod that needs what not every kubelet can do goes where the kubelet says that it can."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change, Column, FilterPlugin
from kybern.scheduler.nodes import Nodes


def restarts_all(pod: Pod) -> bool:
    containers = (*(pod.spec.init_containers or ()), *pod.spec.containers)
    return any(rule.action == "RestartAllContainers" for one in containers for rule in one.restart_policy_rules or ())


def own_users_on_host_network(pod: Pod) -> bool:
    return bool(pod.spec.host_network) and pod.spec.host_users is False


NEEDED: dict[str, Callable[[Pod], bool]] = {
    "RestartAllContainersOnContainerExits": restarts_all,
    "UserNamespacesHostNetworkSupport": own_users_on_host_network,
}


class NodeDeclaredFeatures(FilterPlugin[frozenset[str]]):
    name: ClassVar[str] = "NodeDeclaredFeatures"
    wakes_on: ClassVar[Change] = Change.NODE_ADDED | Change.NODE_FEATURES
    reason: ClassVar[str] = "node(s) didn't match Pod's required features"

    def pre_filter(self, pod: Pod, nodes: Nodes) -> frozenset[str] | None:
        return frozenset(name for name, needs in NEEDED.items() if needs(pod)) or None

    def filter(self, state: frozenset[str], nodes: Nodes) -> Column[np.bool_]:
        declared = (node.status.declared_features or () for node in nodes.objects())
        return np.fromiter((state.issubset(one) for one in declared), np.bool_, len(nodes))
