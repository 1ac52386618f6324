"""NodeRestriction: a node's agent changes its own Node, its own pods, its own lease, and asks for its pods' tokens only.

The Node authorizer lets an agent reach these kinds at all; which of the objects are its own, only the objects tell.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from kybern.api.certificates_v1 import PodCertificateRequest
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Node, PersistentVolumeClaim, Pod, ServiceAccount
from kybern.api.resource_v1 import ResourceSlice
from kybern.api.storage_v1 import CSINode
from kybern.apiserver.admission.node_tokens import check_audience, wrong_with_token
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.auth.node import GROUP, LEASES_NAMESPACE, node_of
from kybern.apiserver.auth.references import MIRROR, names_in
from kybern.apiserver.request import Admission

LABELS_OF_ITS_OWN = {
    "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
}  # fmt: skip
PREFIXES_OF_ITS_OWN = ("kubelet.kubernetes.io", "node.kubernetes.io")
RESTRICTED_PREFIX = "node-restriction.kubernetes.io"
UNREADABLE = {"configmaps": "configmaps", "secrets": "secrets", "persistentvolumeclaims": "persistentvolumeclaims"}


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    async def admit(self, admission: Admission) -> None:
        if GROUP not in admission.user.groups:
            return
        node = node_of(admission.user)
        if not node:
            raise refused(admission, f'could not determine node from user "{admission.user.name}"')
        for wrong in self.wrong(admission, node):
            raise refused(admission, wrong)
        if admission.resource.kind.type is ServiceAccount and admission.subresource == "token":
            await check_audience(admission, self.inputs)

    def wrong(self, a: Admission, node: str) -> Iterator[str]:
        kind = a.resource.kind.type
        if kind is Pod:
            yield from self.wrong_with_pod(a, node)
        elif kind is Node:
            yield from wrong_with_node(a, node)
        elif kind is PersistentVolumeClaim:
            yield from wrong_with_claim(a, node)
        elif kind is ServiceAccount and a.subresource == "token":
            yield from wrong_with_token(a, node, self.objects)
        elif kind is Lease:
            yield from wrong_with_lease(a, node)
        elif kind is CSINode and a.operation in ("CREATE", "UPDATE", "DELETE") and own_name(a) != node:
            yield f'node "{node}" can only access CSINode with the same name as the requesting node'
        elif kind is PodCertificateRequest and a.operation == "CREATE":
            yield from self.wrong_with_certificate(a.object, a.namespace, node)
        elif kind is ResourceSlice and a.operation in ("CREATE", "DELETE"):
            devices = a.object if a.operation == "CREATE" else a.old
            if devices is not None and devices.spec.node_name != node:
                verb = a.operation.lower()
                yield f"can only {verb} ResourceSlice with the same NodeName as the requesting node"

    def wrong_with_pod(self, a: Admission, node: str) -> Iterator[str]:
        if a.subresource == "status":
            yield from wrong_with_pod_status(a, node)
        elif a.subresource == "eviction":
            pod = self.objects.get(Pod, a.name, a.namespace)
            if pod is None or pod.spec.node_name != node:
                yield f'node "{node}" can only evict pods with spec.nodeName set to itself'
        elif a.subresource:
            yield f'unexpected pod subresource "{a.subresource}", only "status" and "eviction" are allowed'
        elif a.operation == "CREATE":
            yield from self.wrong_with_new_pod(a, node)
        elif a.operation == "DELETE":
            if a.old is None or a.old.spec.node_name != node:
                yield f'node "{node}" can only delete pods with spec.nodeName set to itself'
        else:
            yield f'unexpected operation "{a.operation}", node "{node}" can only create and delete mirror pods'

    def wrong_with_certificate(self, request: PodCertificateRequest, namespace: str, node: str) -> Iterator[str]:
        """All that it says of the pod is so: signers rely on it."""
        spec = request.spec
        if spec.node_name != node:
            yield f"PodCertificateRequest.Spec.NodeName={spec.node_name}, which is not the requesting node {node}"
            return
        pod = self.objects.get(Pod, spec.pod_name, namespace)
        if pod is None or pod.spec.node_name != node:
            yield f"pod {spec.pod_name} is not bound to node {node}"
        elif pod.metadata.uid != spec.pod_uid:
            yield f"PodCertificateRequest for pod {namespace}/{spec.pod_name} contains another pod UID than the pod's"
        elif pod.metadata.annotations and MIRROR in pod.metadata.annotations:
            yield f"pod {spec.pod_name} is a mirror pod, which has no certificates"
        elif (pod.spec.service_account_name or "default") != spec.service_account_name:
            yield f"PodCertificateRequest names another service account than pod {namespace}/{spec.pod_name}"
        else:
            account = self.objects.get(ServiceAccount, spec.service_account_name, namespace)
            if account is None or account.metadata.uid != spec.service_account_uid:
                yield f"service account {spec.service_account_name} has another UID"
            found = self.objects.get(Node, node)
            if found is None or found.metadata.uid != spec.node_uid:
                yield f"node {node} has another UID"

    def wrong_with_new_pod(self, a: Admission, node: str) -> Iterator[str]:
        pod: Pod = a.object
        if MIRROR not in (pod.metadata.annotations or {}):
            yield f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
            return
        if pod.spec.node_name != node:
            yield f'node "{node}" can only create pods with spec.nodeName set to itself'
        yield from self.wrong_owners(pod, node)
        if pod.spec.service_account_name:
            yield f'node "{node}" can not create pods that reference a service account'
        for plural, name in names_in(pod.spec):
            if plural in UNREADABLE and name:
                yield f'node "{node}" can not create pods that reference {plural}'
        if pod.spec.resource_claims:
            yield f'node "{node}" can not create pods that reference resourceclaims'
        for volume in pod.spec.volumes or ():
            if volume.projected or volume.ephemeral:
                yield f'node "{node}" can not create pods with projected or ephemeral volumes'

    def wrong_owners(self, pod: Pod, node: str) -> Iterator[str]:
        owners = pod.metadata.owner_references or ()
        if len(owners) != 1:
            yield f'node "{node}" can only create pods with a single owner reference set to itself'
            return
        owner, found = owners[0], self.objects.get(Node, node)
        if (owner.api_version, owner.kind, owner.name) != ("v1", "Node", node) or owner.controller is not True:
            yield f'node "{node}" can only create pods with an owner reference set to itself'
        if owner.block_owner_deletion:
            yield f'node "{node}" must not set blockOwnerDeletion on an owner reference'
        if found is None or owner.uid != found.metadata.uid:
            yield f"node {node} UID mismatch"


def own_name(a: Admission) -> str:
    """The name in the path, or on creation the one in the body."""
    return a.name or (a.object.metadata.name if a.object is not None else "") or ""


def wrong_with_pod_status(a: Admission, node: str) -> Iterator[str]:
    if a.operation != "UPDATE":
        yield f'unexpected operation "{a.operation}"'
    elif a.old is None or a.old.spec.node_name != node:
        yield f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
    elif dict(a.object.metadata.labels or {}) != dict(a.old.metadata.labels or {}):
        yield f'node "{node}" cannot update labels through pod status'
    elif a.object.status.resource_claim_statuses != a.old.status.resource_claim_statuses:
        yield f'node "{node}" cannot update resource claim statuses'
    elif a.object.status.extended_resource_claim_status != a.old.status.extended_resource_claim_status:
        yield f'node "{node}" cannot update extended resource claim status'


def wrong_with_claim(a: Admission, node: str) -> Iterator[str]:
    """A volume that has grown is told of; nothing else about a claim is a node's business."""
    if a.subresource != "status" or a.operation != "UPDATE":
        yield f'node "{node}" may only update PVC status'
    elif without_growth(a.object) != without_growth(a.old):
        yield f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'


def without_growth(claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
    return replace(
        claim,
        metadata=replace(claim.metadata, resource_version=None, managed_fields=None),
        status=replace(
            claim.status,
            capacity=None,
            conditions=None,
            allocated_resources=None,
            allocated_resource_statuses=None,
        ),
    )


def wrong_with_lease(a: Admission, node: str) -> Iterator[str]:
    if a.namespace != LEASES_NAMESPACE:
        yield f'can only access leases in the "{LEASES_NAMESPACE}" system namespace'
    elif own_name(a) != node:
        yield f'node "{node}" can only access node lease with the same name as the requesting node'


def wrong_with_node(a: Admission, node: str) -> Iterator[str]:
    if own_name(a) != node:
        yield f'node "{node}" is not allowed to modify node "{own_name(a)}"'
        return
    if a.operation == "DELETE":
        yield f'node "{node}" is not allowed to delete itself'
        return
    if a.object is None:
        return
    metadata, old = a.object.metadata, a.old.metadata if a.old is not None else None
    if a.object.spec.config_source is not None and (
        old is None or a.object.spec.config_source != a.old.spec.config_source
    ):
        yield f'node "{node}" is not allowed to set configSource'
    if (metadata.owner_references or ()) != ((old.owner_references if old else None) or ()):
        yield f'node "{node}" is not allowed to set ownerReferences'
    if old is not None and a.object.spec.taints != a.old.spec.taints:
        yield f'node "{node}" is not allowed to modify taints'
    changed = changed_labels(metadata.labels or {}, (old.labels or {}) if old else {})
    forbidden_labels = sorted(filter(is_not_its_own, changed))
    if forbidden_labels:
        verb = "set the following labels" if old is None else "modify labels"
        yield f'node "{node}" is not allowed to {verb}: {", ".join(forbidden_labels)}'


def changed_labels(new: Mapping[str, Any], old: Mapping[str, Any]) -> set[str]:
    return {key for key in (*new, *old) if new.get(key) != old.get(key)}


def is_not_its_own(label: str) -> bool:
    """Labels in Kubernetes' own domains are not for an agent to choose, but for the ones that describe its node."""
    prefix = label.partition("/")[0] if "/" in label else ""
    if is_within(prefix, RESTRICTED_PREFIX):
        return True
    if not is_within(prefix, "kubernetes.io") and not is_within(prefix, "k8s.io"):
        return False
    return label not in LABELS_OF_ITS_OWN and not any(is_within(prefix, own) for own in PREFIXES_OF_ITS_OWN)


def is_within(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith("." + domain)
