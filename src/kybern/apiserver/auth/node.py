"""The Node authorizer: a node's agent reads what the pods on that node need, and writes what is its own.

It answers only for users `system:node:NAME` in the group `system:nodes`; both are needed. What is related to a node is
readable one by one: pods on it, and what they name (Secrets, ConfigMaps, claims of both sorts, and through a claim its
volume and that volume's Secrets); attachments and slices of devices that name the node. Its Node, Lease and CSINode are
its own. The rest is a fixed list of rules, which admission (NodeRestriction) narrows down to the node's own objects.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kybern.api.certificates_v1 import PodCertificateRequest
from kybern.api.core_v1 import PersistentVolume, Pod
from kybern.api.rbac_v1 import PolicyRule
from kybern.api.resource_v1 import ResourceSlice
from kybern.api.storage_v1 import VolumeAttachment
from kybern.apiserver.auth.grants import Grants, compile_rules
from kybern.apiserver.auth.rbac import allows
from kybern.apiserver.auth.references import claim_of
from kybern.apiserver.auth.related import NodeReferences, VolumeReferences, following_pods, following_volumes
from kybern.apiserver.request import Attributes, Decision, Objects, User

USER_PREFIX = "system:node:"
GROUP = "system:nodes"
LEASES_NAMESPACE = "kube-node-lease"
READS = ("get", "list", "watch")
OWN_VERBS = ("get", "create", "update", "patch", "delete")
WRITES = {
    ("nodes", ""): ("create", "update", "patch"),
    ("nodes", "status"): ("update", "patch"),
    ("pods", ""): ("create", "delete"),
    ("pods", "status"): ("update", "patch"),
    ("pods", "eviction"): ("create",),
}
"""Of nodes and pods, by part; NodeRestriction sees to it that they are the node's own."""
NAME_THEIR_NODE: dict[str, type[Any]] = {
    "volumeattachments": VolumeAttachment,
    "podcertificaterequests": PodCertificateRequest,
    "resourceslices": ResourceSlice,
}
"""In `spec.nodeName`."""


def node_of(user: User) -> str:
    """The node that this user is the agent of; empty where it is none."""
    return user.name.removeprefix(USER_PREFIX) if user.name.startswith(USER_PREFIX) and GROUP in user.groups else ""


@dataclass(frozen=True, slots=True)
class NodeAuthorizer:
    objects: Objects
    references: NodeReferences
    volumes: VolumeReferences
    rules: Grants

    def decide(self, attributes: Attributes) -> Decision:
        node = node_of(attributes.user)
        if not node:
            return Decision(False)
        subdivided = SUBDIVIDED.get((attributes.group, attributes.resource)) if attributes.is_resource else None
        return subdivided(self, node, attributes) if subdivided else Decision(allows(self.rules, attributes))

    def read_named(self, node: str, a: Attributes) -> Decision:
        """Secrets and ConfigMaps, one by one; they may be watched too."""
        if a.verb not in READS:
            return Decision(False, "can only read resources of this type")
        if a.subresource:
            return Decision(False, "cannot read subresource")
        if not a.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self.related(node, a)

    def get(self, node: str, a: Attributes) -> Decision:
        if a.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        if a.subresource:
            return Decision(False, "cannot get subresource")
        return self.related(node, a)

    def claim(self, node: str, a: Attributes) -> Decision:
        if a.subresource != "status":
            return self.get(node, a)
        if a.verb not in ("update", "patch"):
            return Decision(False, "can only get/update/patch this type")
        return self.related(node, a)

    def node(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb not in READS:
            return written(a)
        if a.name == node:
            return Decision(True)
        what = f"'{a.name}'" if a.name else "all nodes"
        return Decision(False, f"node '{node}' cannot read {what}, only its own Node object")

    def pod(self, node: str, a: Attributes) -> Decision:
        if a.subresource or a.verb not in READS:
            return written(a)
        if a.verb == "get":
            return self.get(node, a)
        if is_asked_for(node, "spec.nodeName", a):
            return Decision(True)
        if a.name:
            return self.related(node, a)
        return Decision(False, "can only list/watch pods with spec.nodeName field selector")

    def token(self, node: str, a: Attributes) -> Decision:
        if a.verb == "get" and not a.subresource:
            return self.related(node, a)
        if a.verb != "create" or not a.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if a.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        return self.related(node, a)

    def lease(self, node: str, a: Attributes) -> Decision:
        if a.verb in OWN_VERBS and a.namespace != LEASES_NAMESPACE:
            return Decision(False, f'can only access leases in the "{LEASES_NAMESPACE}" system namespace')
        return own(node, a, "node lease")

    def csi_node(self, node: str, a: Attributes) -> Decision:
        if a.verb in OWN_VERBS and a.subresource:
            return Decision(False, "cannot authorize CSINode subresources")
        return own(node, a, "CSINode")

    def slice(self, node: str, a: Attributes) -> Decision:
        """Its devices, as its drivers publish them. Of a new one admission sees whose it is."""
        if a.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        if a.verb == "create":
            return Decision(True)
        if a.verb in OWN_VERBS:
            return self.related(node, a)
        if a.verb not in ("watch", "list", "deletecollection"):
            verbs = "get, watch, list, create, update, patch, delete, deletecollection"
            return Decision(False, f"only the following verbs are allowed for a ResourceSlice: {verbs}")
        allowed = is_asked_for(node, "spec.nodeName", a)
        return Decision(allowed, "can only list/watch/deletecollection resourceslices with nodeName field selector")

    def certificate(self, node: str, a: Attributes) -> Decision:
        """For a pod of its own: of a new request admission sees whose it is."""
        if a.subresource:
            return Decision(False, "nodes may not access subresources of PodCertificateRequests")
        if a.verb == "create":
            return Decision(True)
        if a.verb == "get":
            return self.related(node, a)
        allowed = a.verb in READS and is_asked_for(node, "spec.nodeName", a)
        return Decision(allowed, "can only list/watch podcertificaterequests with spec.nodeName field selector")

    def related(self, node: str, a: Attributes) -> Decision:
        if not a.name:
            return Decision(False, "No Object name found")
        if self.is_related(node, a.resource, a.namespace, a.name):
            return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def is_related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        if resource == "pods":
            return self.owns_pod(node, namespace, name)
        if resource == "persistentvolumes":
            volume = self.objects.get(PersistentVolume, name)
            claim = claim_of(volume) if volume else None
            return claim is not None and self.references.holds(node, claim)
        if resource in NAME_THEIR_NODE:
            found = self.objects.get(NAME_THEIR_NODE[resource], name, namespace)
            return found is not None and found.spec.node_name == node
        reference = (resource, namespace, name)
        return self.references.holds(node, reference) or any(
            self.references.holds(node, claim) for claim in self.volumes.claims(reference)
        )

    def owns_pod(self, node: str, namespace: str, name: str) -> bool:
        """One that is gone is nobody's: its agent may learn that it is not there."""
        owner = self.references.node_of(namespace, name)
        return owner == node or (owner is None and self.objects.get(Pod, name, namespace) is None)


SUBDIVIDED: dict[tuple[str, str], Callable[[NodeAuthorizer, str, Attributes], Decision]] = {
    ("", "secrets"): NodeAuthorizer.read_named,
    ("", "configmaps"): NodeAuthorizer.read_named,
    ("", "persistentvolumeclaims"): NodeAuthorizer.claim,
    ("", "persistentvolumes"): NodeAuthorizer.get,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer.get,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer.get,
    ("", "serviceaccounts"): NodeAuthorizer.token,
    ("coordination.k8s.io", "leases"): NodeAuthorizer.lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer.csi_node,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer.slice,
    ("certificates.k8s.io", "podcertificaterequests"): NodeAuthorizer.certificate,
    ("", "nodes"): NodeAuthorizer.node,
    ("", "pods"): NodeAuthorizer.pod,
}
"""What is looked at closer than the rules do."""


def written(a: Attributes) -> Decision:
    return Decision(a.verb in WRITES.get((a.resource, a.subresource), ()))


def is_asked_for(node: str, path: str, a: Attributes) -> bool:
    return any(term.equal and term.path == path and term.value == node for term in a.fields)


def own(node: str, a: Attributes, kind: str) -> Decision:
    """What bears the node's own name; on creation the name is still in the body, and admission looks at that."""
    if a.verb not in OWN_VERBS:
        return Decision(False, f"can only get, create, update, patch, or delete a {kind}")
    if a.verb != "create" and a.name != node:
        return Decision(False, f"can only access {kind} with the same name as the requesting node")
    return Decision(True)


def node_authorizer(objects: Objects, rules: Iterable[PolicyRule]) -> NodeAuthorizer:
    return NodeAuthorizer(objects, following_pods(objects), following_volumes(objects), compile_rules(rules))
