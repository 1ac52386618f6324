"""RESOURCES: every resource that the API server serves, one line each."""

from typing import Any

from kybern.api import admissionregistration_v1 as admissionregistration
from kybern.api import (
    apiregistration_v1,
    apps_v1,
    autoscaling_v1,
    autoscaling_v2,
    batch_v1,
    certificates_v1,
    core_v1,
    events_v1,
    networking_v1,
    policy_v1,
    rbac_v1,
    storage_v1,
)
from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.coordination_v1 import Lease
from kybern.api.kinds import KINDS
from kybern.api.scheduling_v1 import PriorityClass
from kybern.registry.configmaps import CONFIG_MAPS, SECRETS
from kybern.registry.daemonsets import DAEMONSETS
from kybern.registry.deployments import DEPLOYMENTS
from kybern.registry.endpoints import ENDPOINT_SLICES, ENDPOINTS
from kybern.registry.events import EVENTS, NEW_EVENTS
from kybern.registry.leases import LEASES
from kybern.registry.namespaces import NAMESPACES
from kybern.registry.nodes import NODES
from kybern.registry.parts import (
    BINDING,
    EVICTION,
    PROXY_VERBS,
    TOKEN_REQUEST,
    clear_status,
    connect,
    keep_status,
    scale,
    spec_of,
    status,
)
from kybern.registry.persistentvolumeclaims import PERSISTENT_VOLUME_CLAIMS
from kybern.registry.persistentvolumes import PERSISTENT_VOLUMES
from kybern.registry.pods import PODS
from kybern.registry.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from kybern.registry.replicasets import REPLICASETS
from kybern.registry.resource import Resource, Subresource
from kybern.registry.serviceaccounts import SERVICE_ACCOUNTS
from kybern.registry.services import SERVICES
from kybern.registry.statefulsets import STATEFULSETS
from kybern.registry.templates import CONTROLLER_REVISIONS, POD_TEMPLATES, REPLICATION_CONTROLLERS

SHORT = {
    core_v1.ConfigMap: ("cm",), core_v1.Endpoints: ("ep",), core_v1.Event: ("ev",), events_v1.Event: ("ev",),
    core_v1.LimitRange: ("limits",), core_v1.Namespace: ("ns",), core_v1.Node: ("no",),
    core_v1.PersistentVolumeClaim: ("pvc",), core_v1.PersistentVolume: ("pv",), core_v1.Pod: ("po",),
    core_v1.ReplicationController: ("rc",), core_v1.ResourceQuota: ("quota",), core_v1.ServiceAccount: ("sa",),
    core_v1.Service: ("svc",), core_v1.ComponentStatus: ("cs",), CustomResourceDefinition: ("crd", "crds"),
    apps_v1.DaemonSet: ("ds",), apps_v1.Deployment: ("deploy",), apps_v1.ReplicaSet: ("rs",),
    apps_v1.StatefulSet: ("sts",), autoscaling_v1.HorizontalPodAutoscaler: ("hpa",),
    autoscaling_v2.HorizontalPodAutoscaler: ("hpa",), batch_v1.CronJob: ("cj",),
    certificates_v1.CertificateSigningRequest: ("csr",), networking_v1.Ingress: ("ing",),
    networking_v1.NetworkPolicy: ("netpol",), networking_v1.IPAddress: ("ip",),
    policy_v1.PodDisruptionBudget: ("pdb",), PriorityClass: ("pc",), storage_v1.StorageClass: ("sc",),
    storage_v1.VolumeAttributesClass: ("vac",),
}  # fmt: skip
ALL = {
    core_v1.Pod, core_v1.ReplicationController, core_v1.Service, apps_v1.DaemonSet, apps_v1.Deployment,
    apps_v1.ReplicaSet, apps_v1.StatefulSet, autoscaling_v1.HorizontalPodAutoscaler,
    autoscaling_v2.HorizontalPodAutoscaler, batch_v1.CronJob, batch_v1.Job,
}  # fmt: skip
EXTENSIONS = {
    CustomResourceDefinition, apiregistration_v1.APIService, admissionregistration.MutatingWebhookConfiguration,
    admissionregistration.ValidatingWebhookConfiguration, admissionregistration.ValidatingAdmissionPolicy,
    admissionregistration.ValidatingAdmissionPolicyBinding, admissionregistration.MutatingAdmissionPolicy,
    admissionregistration.MutatingAdmissionPolicyBinding,
}  # fmt: skip
PREFIX = {
    core_v1.Endpoints: "/registry/services/endpoints", core_v1.Service: "/registry/services/specs",
    core_v1.Node: "/registry/minions", core_v1.ReplicationController: "/registry/controllers",
    networking_v1.Ingress: "/registry/ingress",
    CustomResourceDefinition: "/registry/apiextensions.k8s.io/customresourcedefinitions",
    apiregistration_v1.APIService: "/registry/apiregistration.k8s.io/apiservices",
}  # fmt: skip
CREATE_ON_UPDATE = {
    core_v1.Endpoints, core_v1.Event, events_v1.Event, Lease, core_v1.LimitRange, core_v1.Service,
    rbac_v1.Role, rbac_v1.RoleBinding, rbac_v1.ClusterRole, rbac_v1.ClusterRoleBinding,
}  # fmt: skip
EXTRA: dict[Any, tuple[Subresource, ...]] = {
    core_v1.Pod: (
        connect("attach", "PodAttachOptions"), Subresource(name="binding", kind=BINDING, verbs=("post",)),
        Subresource(name="ephemeralcontainers"), Subresource(name="eviction", kind=EVICTION, verbs=("post",)),
        connect("exec", "PodExecOptions"), Subresource(name="log", verbs=("get",)),
        connect("portforward", "PodPortForwardOptions"), connect("proxy", "PodProxyOptions", PROXY_VERBS),
        Subresource(name="resize"),
    ),
    core_v1.Service: (connect("proxy", "ServiceProxyOptions", PROXY_VERBS),),
    core_v1.Node: (connect("proxy", "NodeProxyOptions", PROXY_VERBS),),
    core_v1.ServiceAccount: (Subresource(name="token", kind=TOKEN_REQUEST, verbs=("post",)),),
    core_v1.Namespace: (Subresource(name="finalize", verbs=("put",)),),
    certificates_v1.CertificateSigningRequest: (Subresource(name="approval"),),
}  # fmt: skip


def _plain(kind: Any) -> Resource:
    named = {sub.name for sub in kind.subresources}
    subs = EXTRA.get(kind.type, ())
    if "status" in named:
        subs = (*subs, status())
    if "scale" in named:
        subs = (*subs, scale(lambda _: ""))
    return Resource(
        kind=kind,
        short_names=SHORT.get(kind.type, ()),
        categories=("all",) if kind.type in ALL else ("api-extensions",) if kind.type in EXTENSIONS else (),
        storage_prefix=PREFIX.get(kind.type, ""),
        create_on_update=kind.type in CREATE_ON_UPDATE,
        subresources=subs,
        on_create=clear_status if "status" in named else lambda obj: obj,
        on_update=keep_status if "status" in named else lambda new, old: new,
        generation=spec_of if "status" in named else None,
    )


DONE = {resource.kind.type: resource for resource in (
    PODS, DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SERVICES,
    CONFIG_MAPS, SECRETS, NAMESPACES, NODES, SERVICE_ACCOUNTS, ENDPOINTS, ENDPOINT_SLICES, ROLES, CLUSTER_ROLES,
    ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS, EVENTS, NEW_EVENTS, LEASES, POD_TEMPLATES, REPLICATION_CONTROLLERS,
    CONTROLLER_REVISIONS,
)}  # fmt: skip

RESOURCES: tuple[Resource, ...] = tuple(DONE.get(kind.type) or _plain(kind) for kind in KINDS)
