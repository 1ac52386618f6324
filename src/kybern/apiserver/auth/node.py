"""The Node authorizer: a node's agent reads what the pods on that node need, and writes what is its own.

It answers only for users `system:node:NAME` in the group `system:nodes`; both are needed. Secrets, ConfigMaps, claims
and volumes are readable one by one while a pod on the node names them; leases and CSINodes are the node's own; the rest
is a fixed list of rules, which admission (NodeRestriction) narrows down to the node's own objects.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kybern.api.core_v1 import Pod
from kybern.api.rbac_v1 import PolicyRule
from kybern.apiserver.auth.grants import Grants, compile_rules
from kybern.apiserver.auth.rbac import allows
from kybern.apiserver.auth.references import NodeReferences, claims_of_volume, following_pods
from kybern.apiserver.request import Attributes, Decision, Objects, User

USER_PREFIX = "system:node:"
GROUP = "system:nodes"
LEASES_NAMESPACE = "kube-node-lease"
READS = ("get", "list", "watch")
OWN = {  # plural → (group, verbs)
    "leases": ("coordination.k8s.io", {"get", "create", "update", "patch", "delete"}),
    "csinodes": ("storage.k8s.io", {"get", "create", "update", "patch", "delete"}),
}


def node_of(user: User) -> str:
    """The node that this user is the agent of; empty where it is none."""
    return user.name.removeprefix(USER_PREFIX) if user.name.startswith(USER_PREFIX) and GROUP in user.groups else ""


@dataclass(frozen=True, slots=True)
class NodeAuthorizer:
    objects: Objects
    references: NodeReferences
    rules: Grants

    def decide(self, attributes: Attributes) -> Decision:
        a, node = attributes, node_of(attributes.user)
        if not node:
            return Decision(False)
        if a.group == "" and a.resource in ("secrets", "configmaps"):
            return self.read(node, a, READS)
        if a.group == "" and a.resource in ("persistentvolumes", "persistentvolumeclaims"):
            return self.read_volume(node, a)
        if a.group == "" and a.resource == "serviceaccounts":
            return self.create_token(node, a)
        if a.group == "" and a.resource in ("pods", "nodes") and a.verb in READS and not a.subresource:
            return self.read_own(node, a)
        if a.resource in OWN and a.group == OWN[a.resource][0]:
            return own(node, a)
        return Decision(allows(self.rules, a))

    def read(self, node: str, a: Attributes, verbs: tuple[str, ...]) -> Decision:
        if a.verb not in verbs or a.subresource:
            return Decision(False, "can only read resources of this type")
        if not a.name:
            return Decision(False, "can only read individual resources of this type")
        return self.related(node, (a.resource, a.namespace, a.name))

    def read_volume(self, node: str, a: Attributes) -> Decision:
        if (
            a.resource == "persistentvolumeclaims"
            and a.subresource == "status"
            and a.verb in ("get", "update", "patch")
        ):
            return self.related(node, (a.resource, a.namespace, a.name))
        if a.resource == "persistentvolumes" and a.verb == "get" and not a.subresource:
            claim = claims_of_volume(self.objects, a.name)
            return self.related(node, claim) if claim else unrelated(node)
        return self.read(node, a, ("get",))

    def read_own(self, node: str, a: Attributes) -> Decision:
        """Its own Node; its own pods, one by one or as a list that asks for no others."""
        if a.resource == "nodes":
            return Decision(a.name == node, f"node '{node}' cannot read all nodes, only its own Node object")
        if a.verb != "get":
            own = f"spec.nodeName={node}" in a.field_selector.replace("==", "=").split(",")
            return Decision(own, "can only list/watch pods with spec.nodeName field selector")
        # One that is gone is nobody's: its agent may learn that it is not there.
        owner = self.references.node_of(a.namespace, a.name)
        is_gone = owner is None and self.objects.get(Pod, a.name, a.namespace) is None
        return Decision(True) if owner == node or is_gone else unrelated(node)

    def create_token(self, node: str, a: Attributes) -> Decision:
        if a.verb != "create" or a.subresource != "token":
            return Decision(False, "can only create tokens for individual service accounts")
        return self.related(node, (a.resource, a.namespace, a.name))

    def related(self, node: str, reference: tuple[str, str, str]) -> Decision:
        return Decision(True) if self.references.holds(node, reference) else unrelated(node)


def unrelated(node: str) -> Decision:
    return Decision(False, f"no relationship found between node '{node}' and this object")


def own(node: str, a: Attributes) -> Decision:
    """A node's own Lease or CSINode; on creation the name is still in the body, and admission looks at that."""
    kind = a.resource.removesuffix("s")
    if a.verb not in OWN[a.resource][1] or a.subresource:
        return Decision(False, f"can only get, create, update, patch, or delete a {kind}")
    if a.resource == "leases" and a.namespace != LEASES_NAMESPACE:
        return Decision(False, f'can only access leases in the "{LEASES_NAMESPACE}" system namespace')
    if a.verb != "create" and a.name != node:
        return Decision(False, f"can only access a {kind} with the same name as the requesting node")
    return Decision(True)


def node_authorizer(objects: Objects, rules: Iterable[PolicyRule]) -> NodeAuthorizer:
    return NodeAuthorizer(objects, following_pods(objects), compile_rules(rules))
