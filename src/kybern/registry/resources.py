"""RESOURCES: every resource that the API server serves."""

from kybern.registry.addresses import IP_ADDRESSES, SERVICE_CIDRS
from kybern.registry.admissionpolicies import (
    MUTATING_POLICIES,
    MUTATING_POLICY_BINDINGS,
    VALIDATING_POLICIES,
    VALIDATING_POLICY_BINDINGS,
)
from kybern.registry.admissionwebhooks import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS
from kybern.registry.apiservices import API_SERVICES
from kybern.registry.autoscalers import AUTOSCALERS, AUTOSCALERS_V1
from kybern.registry.certificates import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_TRUST_BUNDLES,
    POD_CERTIFICATE_REQUESTS,
)
from kybern.registry.configmaps import CONFIG_MAPS, SECRETS
from kybern.registry.cronjobs import CRON_JOBS
from kybern.registry.csi import CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES
from kybern.registry.customresources.definition import CUSTOM_RESOURCE_DEFINITIONS
from kybern.registry.daemonsets import DAEMONSETS
from kybern.registry.deployments import DEPLOYMENTS
from kybern.registry.devices import DEVICE_CLASSES, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from kybern.registry.devicetaints import DEVICE_TAINT_RULES
from kybern.registry.endpoints import ENDPOINT_SLICES, ENDPOINTS
from kybern.registry.events import EVENTS, NEW_EVENTS
from kybern.registry.flowcontrol import FLOW_SCHEMAS, PRIORITY_LEVELS
from kybern.registry.ingresses import INGRESS_CLASSES, INGRESSES
from kybern.registry.jobs import JOBS
from kybern.registry.leases import LEASES
from kybern.registry.namespaces import NAMESPACES
from kybern.registry.networkpolicies import NETWORK_POLICIES
from kybern.registry.nodes import NODES
from kybern.registry.persistentvolumeclaims import PERSISTENT_VOLUME_CLAIMS
from kybern.registry.persistentvolumes import PERSISTENT_VOLUMES
from kybern.registry.pods import PODS
from kybern.registry.policies import POD_DISRUPTION_BUDGETS, PRIORITY_CLASSES, RUNTIME_CLASSES
from kybern.registry.quotas import LIMIT_RANGES, RESOURCE_QUOTAS
from kybern.registry.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from kybern.registry.replicasets import REPLICASETS
from kybern.registry.resource import Resource
from kybern.registry.resourceslices import RESOURCE_SLICES
from kybern.registry.reviews import BINDINGS, COMPONENT_STATUSES, REVIEWS
from kybern.registry.serviceaccounts import SERVICE_ACCOUNTS
from kybern.registry.services import SERVICES
from kybern.registry.statefulsets import STATEFULSETS
from kybern.registry.storage import STORAGE_CLASSES, VOLUME_ATTACHMENTS, VOLUME_ATTRIBUTES_CLASSES
from kybern.registry.storagemigrations import STORAGE_VERSION_MIGRATIONS
from kybern.registry.templates import CONTROLLER_REVISIONS, POD_TEMPLATES, REPLICATION_CONTROLLERS

RESOURCES: tuple[Resource, ...] = (
    # core
    BINDINGS,
    COMPONENT_STATUSES,
    CONFIG_MAPS,
    ENDPOINTS,
    EVENTS,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    # admissionregistration.k8s.io
    MUTATING_POLICIES,
    MUTATING_POLICY_BINDINGS,
    MUTATING_WEBHOOKS,
    VALIDATING_POLICIES,
    VALIDATING_POLICY_BINDINGS,
    VALIDATING_WEBHOOKS,
    # apiextensions.k8s.io, apiregistration.k8s.io
    CUSTOM_RESOURCE_DEFINITIONS,
    API_SERVICES,
    # apps
    CONTROLLER_REVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    REPLICASETS,
    STATEFULSETS,
    # authentication.k8s.io, authorization.k8s.io
    *REVIEWS,
    # autoscaling, batch
    AUTOSCALERS_V1,
    AUTOSCALERS,
    CRON_JOBS,
    JOBS,
    # certificates.k8s.io, coordination.k8s.io, discovery.k8s.io, events.k8s.io
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_TRUST_BUNDLES,
    POD_CERTIFICATE_REQUESTS,
    LEASES,
    ENDPOINT_SLICES,
    NEW_EVENTS,
    # flowcontrol.apiserver.k8s.io
    FLOW_SCHEMAS,
    PRIORITY_LEVELS,
    # networking.k8s.io, node.k8s.io, policy
    INGRESS_CLASSES,
    INGRESSES,
    IP_ADDRESSES,
    NETWORK_POLICIES,
    SERVICE_CIDRS,
    RUNTIME_CLASSES,
    POD_DISRUPTION_BUDGETS,
    # rbac.authorization.k8s.io
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    # resource.k8s.io, scheduling.k8s.io
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    RESOURCE_CLAIMS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_SLICES,
    PRIORITY_CLASSES,
    # storage.k8s.io, storagemigration.k8s.io
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
    STORAGE_VERSION_MIGRATIONS,
)
