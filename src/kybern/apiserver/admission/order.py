"""The admission plugins in the order in which they see a write: upstream's, with the checks that upstream makes where it
stores an object (RBAC escalation) at the end, and the quota last, so that only what is otherwise right is counted.
"""

from collections.abc import Callable

from kybern.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from kybern.apiserver.admission.default_classes import DefaultIngressClass, DefaultStorageClass
from kybern.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from kybern.apiserver.admission.limit_ranger import LimitRanger
from kybern.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from kybern.apiserver.admission.node_restriction import NodeRestriction
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.admission.pod_security import PodSecurity
from kybern.apiserver.admission.priority import Priority
from kybern.apiserver.admission.rbac_escalation import RbacEscalation
from kybern.apiserver.admission.resource_quota import ResourceQuotaAdmission
from kybern.apiserver.admission.runtime_class import RuntimeClassAdmission
from kybern.apiserver.admission.service_account import ServiceAccountAdmission
from kybern.apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from kybern.apiserver.admission.webhooks.mutating import MutatingWebhooks
from kybern.apiserver.admission.webhooks.validating import ValidatingWebhooks
from kybern.apiserver.request import AdmissionPlugin

ADMISSION: tuple[Callable[[Inputs], AdmissionPlugin], ...] = (
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccountAdmission,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    RuntimeClassAdmission,
    CertificateRequester,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    MutatingWebhooks,
    RbacEscalation,
    ValidatingWebhooks,
    ResourceQuotaAdmission,
)


def admission_plugins(inputs: Inputs) -> tuple[AdmissionPlugin, ...]:
    return tuple(build(inputs) for build in ADMISSION)
