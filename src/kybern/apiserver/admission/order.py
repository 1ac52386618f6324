"""The admission plugins in the order in which they see a write: upstream's, with the checks that upstream makes where it
stores an object (RBAC escalation) at the end, and the quota last, so that only what is otherwise right is counted.
"""

from collections.abc import Iterable

from kybern.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from kybern.apiserver.admission.claim_resize import PersistentVolumeClaimResize
from kybern.apiserver.admission.default_classes import DefaultIngressClass, DefaultStorageClass
from kybern.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from kybern.apiserver.admission.event_rate_limit import EventRateLimit
from kybern.apiserver.admission.limit_ranger import LimitRanger
from kybern.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kybern.apiserver.admission.node_restriction import NodeRestriction
from kybern.apiserver.admission.owner_references import OwnerReferencesPermissionEnforcement
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.admission.pod_security import PodSecurity
from kybern.apiserver.admission.policies.mutating import MutatingPolicies
from kybern.apiserver.admission.policies.validating import ValidatingPolicies
from kybern.apiserver.admission.priority import Priority
from kybern.apiserver.admission.rbac_escalation import RbacEscalation
from kybern.apiserver.admission.resource_quota import ResourceQuotaAdmission
from kybern.apiserver.admission.runtime_class import RuntimeClassAdmission
from kybern.apiserver.admission.service_account import ServiceAccountAdmission
from kybern.apiserver.admission.storage_protection import StorageObjectInUseProtection
from kybern.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from kybern.apiserver.admission.webhooks.mutating import MutatingWebhooks
from kybern.apiserver.admission.webhooks.validating import ValidatingWebhooks
from kybern.apiserver.request import AdmissionPlugin

ADMISSION: tuple[type[Plugin], ...] = (
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccountAdmission,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    EventRateLimit,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClassAdmission,
    CertificateRequester,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    MutatingPolicies,
    MutatingWebhooks,
    RbacEscalation,
    ValidatingPolicies,
    ValidatingWebhooks,
    ResourceQuotaAdmission,
)


NAMES = {build.name: build for build in ADMISSION}

ON_REQUEST = frozenset(("EventRateLimit", "OwnerReferencesPermissionEnforcement"))
"""Those that are off unless asked for, as upstream's are."""

INDISPENSABLE = frozenset(("RBACEscalation", "CertificateRequester"))
"""Upstream checks these where it stores an object, so that nobody can leave them out."""


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
