"""The admission plugins in the order in which they see a write: upstream's whole list of 1.37, but for what its alpha features
need, with the checks that upstream makes where it stores an object (RBAC escalation) at the end, and the quota last, so that
only what is otherwise right is counted.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kybern.apiserver.admission.always import AlwaysAdmit, AlwaysDeny
from kybern.apiserver.admission.always_pull_images import AlwaysPullImages
from kybern.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
    ClusterTrustBundleAttest,
)
from kybern.apiserver.admission.claim_resize import PersistentVolumeClaimResize
from kybern.apiserver.admission.default_classes import DefaultIngressClass, DefaultStorageClass
from kybern.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from kybern.apiserver.admission.device_taint_times import DeviceTaintTimes
from kybern.apiserver.admission.event_rate_limit import EventRateLimit, limits_in
from kybern.apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from kybern.apiserver.admission.external_ips import DenyServiceExternalIPs
from kybern.apiserver.admission.hard_anti_affinity import LimitPodHardAntiAffinityTopology
from kybern.apiserver.admission.image_policy import ImagePolicyWebhook
from kybern.apiserver.admission.limit_ranger import LimitRanger
from kybern.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kybern.apiserver.admission.namespaces_of_writes import NamespaceAutoProvision, NamespaceExists
from kybern.apiserver.admission.node_declared_features import NodeDeclaredFeatureValidator
from kybern.apiserver.admission.node_restriction import NodeRestriction
from kybern.apiserver.admission.owner_references import OwnerReferencesPermissionEnforcement
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.admission.pod_node_selector import PodNodeSelector, selectors_in
from kybern.apiserver.admission.pod_resize import PodResizeValidator
from kybern.apiserver.admission.pod_security import PodSecurity
from kybern.apiserver.admission.pod_toleration_restriction import PodTolerationRestriction, for_the_cluster
from kybern.apiserver.admission.pod_topology_labels import PodTopologyLabels
from kybern.apiserver.admission.podsecurity.configuration import configured
from kybern.apiserver.admission.policies.mutating import MutatingPolicies
from kybern.apiserver.admission.policies.validating import ValidatingPolicies
from kybern.apiserver.admission.priority import Priority
from kybern.apiserver.admission.rbac_escalation import RbacEscalation
from kybern.apiserver.admission.resource_quota import ResourceQuotaAdmission
from kybern.apiserver.admission.runtime_class import RuntimeClassAdmission
from kybern.apiserver.admission.service_account import ServiceAccountAdmission
from kybern.apiserver.admission.storage_protection import StorageObjectInUseProtection
from kybern.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from kybern.apiserver.admission.volume_phase_times import VolumePhaseTimes
from kybern.apiserver.admission.webhooks.mutating import MutatingWebhooks
from kybern.apiserver.admission.webhooks.validating import ValidatingWebhooks
from kybern.apiserver.request import AdmissionPlugin

ADMISSION: tuple[type[Plugin], ...] = (
    AlwaysAdmit,
    NamespaceAutoProvision,
    NamespaceLifecycle,
    NamespaceExists,
    LimitPodHardAntiAffinityTopology,
    LimitRanger,
    ServiceAccountAdmission,
    NodeRestriction,
    TaintNodesByCondition,
    AlwaysPullImages,
    ImagePolicyWebhook,
    PodSecurity,
    PodNodeSelector,
    Priority,
    DefaultTolerationSeconds,
    PodTolerationRestriction,
    EventRateLimit,
    ExtendedResourceToleration,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClassAdmission,
    CertificateRequester,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    DenyServiceExternalIPs,
    PodTopologyLabels,
    NodeDeclaredFeatureValidator,
    PodResizeValidator,
    DeviceTaintTimes,
    VolumePhaseTimes,
    MutatingPolicies,
    MutatingWebhooks,
    RbacEscalation,
    ValidatingPolicies,
    ValidatingWebhooks,
    ResourceQuotaAdmission,
    AlwaysDeny,
)


NAMES = {build.name: build for build in ADMISSION}

ON_REQUEST = frozenset(
    (
        "AlwaysAdmit", "AlwaysDeny", "AlwaysPullImages", "DenyServiceExternalIPs", "EventRateLimit",
        "ExtendedResourceToleration", "ImagePolicyWebhook", "LimitPodHardAntiAffinityTopology", "NamespaceAutoProvision",
        "NamespaceExists", "OwnerReferencesPermissionEnforcement", "PodNodeSelector", "PodTolerationRestriction",
    )
)  # fmt: skip
"""Those that are off unless asked for, as upstream's are."""

INDISPENSABLE = frozenset(("RBACEscalation", "CertificateRequester", "DeviceTaintTimes", "VolumePhaseTimes"))
"""Upstream checks these where it stores an object, so that nobody can leave them out."""


CONFIGURED: Mapping[str, Callable[[Any], object]] = {
    EventRateLimit.name: limits_in,
    PodSecurity.name: configured,
    PodNodeSelector.name: selectors_in,
    PodTolerationRestriction.name: for_the_cluster,
}
"""Those that an AdmissionConfiguration can tell something, with what reads it: ValueError where that makes no sense."""


def admission_plugins(
    inputs: Inputs, enabled: Iterable[str] = (), disabled: Iterable[str] = ()
) -> tuple[AdmissionPlugin, ...]:
    """ValueError for a name that is no plugin's."""
    check_names((*enabled, *disabled))
    off = (ON_REQUEST - set(enabled)) | set(disabled)
    return tuple(build(inputs) for name, build in NAMES.items() if name not in off)


def check_names(names: Iterable[str]) -> None:
    for name in names:
        if name not in NAMES or name in INDISPENSABLE:
            raise ValueError(f'admission-control plugin "{name}" is unknown')
