"""Every control loop, as plain values. A process runs `controllers(...)`, or any other tuple of loops."""

from ipaddress import ip_network

from kybern.controllers.bootstraptokens import BOOTSTRAP_SIGNER, TOKEN_CLEANER
from kybern.controllers.certificates import (
    CERTIFICATE_APPROVING,
    CERTIFICATE_CLEANING,
    CERTIFICATE_SERVING,
    POD_CERTIFICATE_CLEANING,
    certificate_signing,
)
from kybern.controllers.clusterdns import CLUSTER_DNS
from kybern.controllers.clusterroleaggregation import CLUSTERROLE_AGGREGATION
from kybern.controllers.cronjob import CRONJOB
from kybern.controllers.daemonset import daemonset
from kybern.controllers.deployment import DEPLOYMENT
from kybern.controllers.devicetaintrules import device_taints
from kybern.controllers.disruption import disruption
from kybern.controllers.endpoints import ENDPOINTS
from kybern.controllers.endpointslice import ENDPOINTSLICE
from kybern.controllers.endpointslicemirroring import ENDPOINTSLICEMIRRORING
from kybern.controllers.garbagecollector import GARBAGECOLLECTOR
from kybern.controllers.horizontalpodautoscaler import horizontal_pod_autoscaler
from kybern.controllers.job import ABANDONED, JOB
from kybern.controllers.legacytokens import LEGACYTOKENS
from kybern.controllers.loadbalancer import load_balancer
from kybern.controllers.namespace import NAMESPACE
from kybern.controllers.nodeipam import node_ipam
from kybern.controllers.nodelifecycle import GRACE_SECONDS, node_lifecycle
from kybern.controllers.nodettl import node_ttl
from kybern.controllers.podgc import FINISHED_MAX, pod_gc
from kybern.controllers.replicaset import REPLICASET
from kybern.controllers.replicationcontroller import REPLICATIONCONTROLLER
from kybern.controllers.resourceclaims import POD_CLAIMS, RESOURCE_CLAIMS
from kybern.controllers.resourcequota import RESOURCEQUOTA
from kybern.controllers.rootca import root_ca
from kybern.controllers.serviceaccount import SERVICEACCOUNT
from kybern.controllers.serviceaccounttokens import service_account_tokens
from kybern.controllers.servicecidrs import SERVICECIDRS
from kybern.controllers.staledisruption import STALE_DISRUPTION
from kybern.controllers.statefulset import STATEFULSET
from kybern.controllers.storageprotection import PV_PROTECTION, PVC_PROTECTION, VAC_PROTECTION
from kybern.controllers.storageversionmigration import STORAGEVERSIONMIGRATION
from kybern.controllers.tainteviction import taint_eviction
from kybern.controllers.trustbundles import trust_bundle_publisher
from kybern.controllers.ttlafterfinished import TTLAFTERFINISHED
from kybern.controllers.validatingadmissionpolicystatus import VALIDATINGADMISSIONPOLICY_STATUS
from kybern.reconcile.controller import Loop
from kybern.web.pki import Pair

CONTROLLERS: tuple[Loop, ...] = (
    ABANDONED,
    BOOTSTRAP_SIGNER,
    CERTIFICATE_APPROVING,
    CERTIFICATE_CLEANING,
    CERTIFICATE_SERVING,
    CLUSTER_DNS,
    CLUSTERROLE_AGGREGATION,
    CRONJOB,
    DEPLOYMENT,
    ENDPOINTS,
    ENDPOINTSLICE,
    ENDPOINTSLICEMIRRORING,
    GARBAGECOLLECTOR,
    JOB,
    LEGACYTOKENS,
    NAMESPACE,
    PVC_PROTECTION,
    PV_PROTECTION,
    POD_CERTIFICATE_CLEANING,
    POD_CLAIMS,
    REPLICASET,
    REPLICATIONCONTROLLER,
    RESOURCEQUOTA,
    RESOURCE_CLAIMS,
    SERVICEACCOUNT,
    SERVICECIDRS,
    STALE_DISRUPTION,
    STATEFULSET,
    STORAGEVERSIONMIGRATION,
    TOKEN_CLEANER,
    TTLAFTERFINISHED,
    VAC_PROTECTION,
    VALIDATINGADMISSIONPOLICY_STATUS,
)


ACCOUNTS = {
    "bootstrap-signer": "bootstrap-signer",
    "certificate-approving": "certificate-controller",
    "certificate-cleaning": "certificate-controller",
    "certificate-serving": "kubelet-serving-approver",
    "certificate-signing": "certificate-controller",
    "cluster-dns": "endpointslice-controller",
    "daemonset": "daemon-set-controller",
    "device-taint-rules": "device-taint-eviction-controller",
    "garbagecollector": "generic-garbage-collector",
    "horizontal-pod-autoscaler": "horizontal-pod-autoscaler",
    "load-balancer": "service-controller",
    "job-abandoned-pods": "job-controller",
    "legacy-service-account-token-cleaner": "legacy-service-account-token-cleaner",
    "kube-apiserver-serving-clustertrustbundle-publisher": "kube-apiserver-serving-clustertrustbundle-publisher",
    "node-ipam": "node-controller",
    "pod-certificate-cleaning": "podcertificaterequestcleaner",
    "pod-garbage-collector": "pod-garbage-collector",
    "resource-claims-of-pods": "resource-claim-controller",
    "root-ca-certificate-publisher": "root-ca-cert-publisher",
    "serviceaccounts": "service-account-controller",
    "stale-disruption": "disruption-controller",
    "taint-eviction": "node-controller",
    "token-cleaner": "token-cleaner",
}
"""Loop → its service account in kube-system, upstream's names; the others are `<loop>-controller`."""


def account_of(loop: Loop) -> str:
    return ACCOUNTS.get(loop.name, f"{loop.name}-controller")


def controllers(
    *,
    root_certificate: str = "",
    authority: Pair | None = None,
    signing_key: bytes = b"",
    cluster_cidr: str = "",
    node_prefix: int = 24,
    balancer_cidr: str = "",
    node_grace_seconds: float = GRACE_SECONDS,
    finished_pods_max: int = FINISHED_MAX,
) -> tuple[Loop, ...]:
    """All loops of a cluster. Without a root certificate none is published, without an authority none is
    signed, without a signing key no Secret gets a token, without a CIDR nodes get no pod network, without another no
    Service a load balancer's address."""
    return (
        *CONTROLLERS,
        daemonset(),
        *device_taints(),
        disruption(),
        horizontal_pod_autoscaler(),
        node_lifecycle(node_grace_seconds),
        node_ttl(),
        pod_gc(finished_pods_max),
        taint_eviction(),
        *((certificate_signing(authority),) if authority else ()),
        *((service_account_tokens(signing_key, root_certificate),) if signing_key else ()),
        *((root_ca(root_certificate), trust_bundle_publisher(root_certificate)) if root_certificate else ()),
        *((load_balancer([ip_network(cidr) for cidr in balancer_cidr.split(",")]),) if balancer_cidr else ()),
        *((node_ipam(cluster_cidr, node_prefix),) if cluster_cidr else ()),
    )
