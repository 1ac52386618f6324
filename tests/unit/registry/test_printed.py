"""What `kubectl get -o wide` prints of every kind: upstream's columns, in its order; those marked with * only when wide."""

import json
from typing import Any

import pytest
from spoilt import made
from valid_objects import valid_objects

from kybern.aio.clock import from_rfc3339
from kybern.apiserver.frames import bookmark
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.apiserver.tables import PLAIN_COLUMNS, Printer
from kybern.registry import RESOURCES
from kybern.registry.resource import Resource

NOW = from_rfc3339("2026-01-01T00:05:10Z")

# (kind, columns, what they say of the valid object of tests/support, created at the beginning of 2026)
ROWS: list[tuple[str, str, list[Any]]] = [
    ("v1/ConfigMap", "Name, Data, Age",
     ["sample", 3, "5m10s"]),
    ("v1/Endpoints", "Name, Endpoints, Age",
     ["sample", "10.0.0.1:80", "5m10s"]),
    ("v1/Event", "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*",
     ["5m", "Normal", "Started", "pod/p", "spec.containers{a}", "kubelet, n1", "it did", "5m10s", 2, "sample"]),
    ("v1/LimitRange", "Name, Created At",
     ["sample", "2026-01-01T00:00:00Z"]),
    ("v1/Namespace", "Name, Status, Age",
     ["sample", "Active", "5m10s"]),
    ("v1/Node", "Name, Status, Roles, Age, Version, Internal-IP*, External-IP*, OS-Image*, Kernel-Version*, Container-Runtime*",
     ["sample", "Ready", "<none>", "5m10s", "v1.37.0", "10.0.0.1", "<none>", "o", "k", "c://1"]),
    ("v1/PersistentVolumeClaim", "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, VolumeMode*",
     ["sample", "Pending", "", "", "", "standard", "<unset>", "5m10s", "Filesystem"]),
    ("v1/PersistentVolume", "Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, Reason, Age, VolumeMode*",
     ["sample", "1Gi", "RWO,ROX", "Retain", "Pending", "", "standard", "<unset>", "", "5m10s", "Filesystem"]),
    ("v1/Pod", "Name, Ready, Status, Restarts, Age, IP*, Node*, Nominated Node*, Readiness Gates*",
     ["sample", "0/2", "Pending", "0", "5m10s", "<none>", "<none>", "<none>", "<none>"]),
    ("v1/PodTemplate", "Name, Containers, Images, Pod Labels",
     ["sample", "c", "i", "a=b"]),
    ("v1/ReplicationController", "Name, Desired, Current, Ready, Age, Containers*, Images*, Selector*",
     ["sample", 1, 0, 0, "5m10s", "c", "i", "a=b"]),
    ("v1/ResourceQuota", "Name, Request, Limit, Age",
     ["sample", "", "", "5m10s"]),
    ("v1/Secret", "Name, Type, Data, Age",
     ["sample", "Opaque", 2, "5m10s"]),
    ("v1/ServiceAccount", "Name, Secrets, Age",
     ["sample", 1, "5m10s"]),
    ("v1/Service", "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector*",
     ["sample", "NodePort", "<none>", "<none>", "80/TCP,53/UDP", "5m10s", "a=b"]),
    ("admissionregistration.k8s.io/v1/MutatingAdmissionPolicy", "Name, Mutations, ParamKind, Age",
     ["sample", 1, "<unset>", "5m10s"]),
    ("admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding", "Name, PolicyName, ParamRef, Age",
     ["sample", "sample", "<unset>", "5m10s"]),
    ("admissionregistration.k8s.io/v1/MutatingWebhookConfiguration", "Name, Webhooks, Age",
     ["sample", 1, "5m10s"]),
    ("admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy", "Name, Validations, ParamKind, Age",
     ["sample", 1, "v1/ConfigMap", "5m10s"]),
    ("admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding", "Name, PolicyName, ParamRef, Age",
     ["sample", "sample", "default/p", "5m10s"]),
    ("admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration", "Name, Webhooks, Age",
     ["sample", 1, "5m10s"]),
    ("apiextensions.k8s.io/v1/CustomResourceDefinition", "Name, Created At",
     ["samples.example.com", "2026-01-01T00:00:00Z"]),
    ("apiregistration.k8s.io/v1/APIService", "Name, Service, Available, Age",
     ["v1.sample.example.com", "default/s", "Unknown", "5m10s"]),
    ("apps/v1/ControllerRevision", "Name, Controller, Revision, Age",
     ["sample", "<none>", 1, "5m10s"]),
    ("apps/v1/DaemonSet", "Name, Desired, Current, Ready, Up-to-date, Available, Node Selector, Age, Containers*, Images*, Selector*",
     ["sample", 0, 0, 0, 0, 0, "<none>", "5m10s", "c", "i", "a=b"]),
    ("apps/v1/Deployment", "Name, Ready, Up-to-date, Available, Age, Containers*, Images*, Selector*",
     ["sample", "0/2", 0, 0, "5m10s", "c,d", "i,i", "a=b,a"]),
    ("apps/v1/ReplicaSet", "Name, Desired, Current, Ready, Age, Containers*, Images*, Selector*",
     ["sample", 1, 0, 0, "5m10s", "c", "i", "a=b"]),
    ("apps/v1/StatefulSet", "Name, Ready, Age, Containers*, Images*",
     ["sample", "0/1", "5m10s", "c", "i"]),
    ("autoscaling/v1/HorizontalPodAutoscaler", "Name, Reference, Targets, MinPods, MaxPods, Replicas, Age",
     ["sample", "Deployment/d", "cpu: <unknown>/50%", "1", 3, 0, "5m10s"]),
    ("autoscaling/v2/HorizontalPodAutoscaler", "Name, Reference, Targets, MinPods, MaxPods, Replicas, Age",
     ["sample", "Deployment/d", "cpu: <unknown>/50%, <unknown>/1k", "1", 3, 0, "5m10s"]),
    ("batch/v1/CronJob", "Name, Schedule, Timezone, Suspend, Active, Last Schedule, Age, Containers*, Images*, Selector*",
     ["sample", "*/5 * * * *", "Europe/Berlin", "False", 0, "<none>", "5m10s", "c", "i", "<none>"]),
    ("batch/v1/Job", "Name, Status, Completions, Duration, Age, Containers*, Images*, Selector*",
     ["sample", "Running", "0/2", "", "5m10s", "c", "i", "batch.kubernetes.io/controller-uid=7b0c"]),
    ("certificates.k8s.io/v1/CertificateSigningRequest", "Name, Age, SignerName, Requestor, RequestedDuration, Condition",
     ["sample", "5m10s", "example.com/x", "", "60m", "Pending"]),
    ("certificates.k8s.io/v1/ClusterTrustBundle", "Name, SignerName",
     ["example.com:x:sample", "example.com/x"]),
    ("certificates.k8s.io/v1/PodCertificateRequest", "Name, PodName, ServiceAccountName, NodeName, SignerName, State",
     ["sample", "p", "s", "n1", "example.com/x", "Pending"]),
    ("coordination.k8s.io/v1/Lease", "Name, Holder, Age",
     ["sample", "me", "5m10s"]),
    ("discovery.k8s.io/v1/EndpointSlice", "Name, AddressType, Ports, Endpoints, Age",
     ["sample", "IPv4", "80", "10.0.0.1", "5m10s"]),
    ("events.k8s.io/v1/Event", "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*",
     ["5m10s", "Normal", "Because", "pod/p", "", "example.com/c, c-1", "it did", "5m10s", 1, "sample"]),
    ("flowcontrol.apiserver.k8s.io/v1/FlowSchema", "Name, PriorityLevel, MatchingPrecedence, DistinguisherMethod, Age, MissingPL",
     ["sample", "global-default", 9000, "ByUser", "5m10s", "?"]),
    ("flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration", "Name, Type, NominalConcurrencyShares, Queues, HandSize, QueueLengthLimit, Age",
     ["sample", "Limited", 5, 16, 4, 10, "5m10s"]),
    ("networking.k8s.io/v1/IngressClass", "Name, Controller, Parameters, Age",
     ["sample", "example.com/c", "ConfigMap/p", "5m10s"]),
    ("networking.k8s.io/v1/Ingress", "Name, Class, Hosts, Address, Ports, Age",
     ["sample", "c", "a.example.com", "", "80, 443", "5m10s"]),
    ("networking.k8s.io/v1/IPAddress", "Name, ParentRef",
     ["10.9.8.7", "services/default/s"]),
    ("networking.k8s.io/v1/NetworkPolicy", "Name, Pod-Selector, Age",
     ["sample", "a=b", "5m10s"]),
    ("networking.k8s.io/v1/ServiceCIDR", "Name, CIDRs, Age",
     ["sample", "10.200.0.0/16", "5m10s"]),
    ("node.k8s.io/v1/RuntimeClass", "Name, Handler, Age",
     ["sample", "runc", "5m10s"]),
    ("policy/v1/PodDisruptionBudget", "Name, Min Available, Max Unavailable, Allowed Disruptions, Age",
     ["sample", "50%", "N/A", 0, "5m10s"]),
    ("rbac.authorization.k8s.io/v1/ClusterRoleBinding", "Name, Role, Age, Users*, Groups*, ServiceAccounts*",
     ["sample", "ClusterRole/view", "5m10s", "u", "", "default/s"]),
    ("rbac.authorization.k8s.io/v1/ClusterRole", "Name, Created At",
     ["sample", "2026-01-01T00:00:00Z"]),
    ("rbac.authorization.k8s.io/v1/RoleBinding", "Name, Role, Age, Users*, Groups*, ServiceAccounts*",
     ["sample", "ClusterRole/view", "5m10s", "u", "", "default/s"]),
    ("rbac.authorization.k8s.io/v1/Role", "Name, Created At",
     ["sample", "2026-01-01T00:00:00Z"]),
    ("resource.k8s.io/v1/DeviceClass", "Name, Age",
     ["sample", "5m10s"]),
    ("resource.k8s.io/v1/DeviceTaintRule", "Name, Key, Value, Effect, TimeAdded, Age",
     ["sample", "k", "v", "NoExecute", "", "5m10s"]),
    ("resource.k8s.io/v1/ResourceClaim", "Name, State, Age",
     ["sample", "pending", "5m10s"]),
    ("resource.k8s.io/v1/ResourceClaimTemplate", "Name, Age",
     ["sample", "5m10s"]),
    ("resource.k8s.io/v1/ResourceSlice", "Name, Node, Driver, Pool, Age",
     ["sample", "n1", "d.example.com", "p", "5m10s"]),
    ("scheduling.k8s.io/v1/PriorityClass", "Name, Value, Global-Default, Age, PreemptionPolicy",
     ["sample", 100, False, "5m10s", "Never"]),
    ("storage.k8s.io/v1/CSIDriver", "Name, AttachRequired, PodInfoOnMount, StorageCapacity, TokenRequests, RequiresRepublish, Modes, Age",
     ["sample", True, False, False, "a", False, "Persistent", "5m10s"]),
    ("storage.k8s.io/v1/CSINode", "Name, Drivers, Age",
     ["sample", 1, "5m10s"]),
    ("storage.k8s.io/v1/CSIStorageCapacity", "Name, StorageClassName, Capacity",
     ["sample", "standard", "1Gi"]),
    ("storage.k8s.io/v1/StorageClass", "Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age",
     ["sample", "d.example.com", "Delete", "WaitForFirstConsumer", True, "5m10s"]),
    ("storage.k8s.io/v1/VolumeAttachment", "Name, Attacher, PV, Node, Attached, Age",
     ["sample", "d.example.com", "p", "n1", False, "5m10s"]),
    ("storage.k8s.io/v1/VolumeAttributesClass", "Name, DriverName, Age",
     ["sample", "d.example.com", "5m10s"]),
    ("storagemigration.k8s.io/v1/StorageVersionMigration", "Name, Resource",
     ["sample", "deployments.apps"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "columns", "cells"), ROWS)
def test_a_kind_is_printed_in_upstreams_columns(name: str, columns: str, cells: list[Any]) -> None:
    rules = next(r for r in RESOURCES if f"{r.kind.api_version}/{r.kind.kind}" == name)
    obj = made(rules, {"metadata.creationTimestamp": "2026-01-01T00:00:00Z"})
    shown = rules.columns or PLAIN_COLUMNS
    assert ", ".join(column.name + "*" * column.priority for column in shown) == columns
    assert [column.cell(obj, NOW) for column in shown] == cells


def test_every_kind_has_a_row() -> None:
    assert {name for name, _, _ in ROWS} == {f"{kind.api_version}/{kind.kind}" for kind in valid_objects()}


@pytest.mark.parametrize("rules", RESOURCES, ids=lambda rules: f"{rules.kind.api_version}/{rules.kind.kind}")
def test_an_object_of_which_only_the_version_is_told_has_a_row(rules: Resource) -> None:
    mark = bookmark(rules.kind.api_version, rules.kind.kind, 7)
    table = json.loads(Printer(rules, "v1", NOW, "Object").alone(mark))
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert (table["metadata"], row["object"]) == ({"resourceVersion": "7"}, json.loads(mark))


TYPES: dict[str, str] = {
    "PodDisruptionBudget.Allowed Disruptions": "integer",
    "ReplicationController.Desired": "integer",
    "ReplicationController.Current": "integer",
    "ReplicationController.Ready": "integer",
    "ReplicaSet.Desired": "integer",
    "ReplicaSet.Current": "integer",
    "ReplicaSet.Ready": "integer",
    "DaemonSet.Desired": "integer",
    "DaemonSet.Current": "integer",
    "DaemonSet.Ready": "integer",
    "DaemonSet.Up-to-date": "integer",
    "DaemonSet.Available": "integer",
    "CronJob.Suspend": "boolean",
    "CronJob.Active": "integer",
    "PriorityClass.Value": "integer",
    "PriorityClass.Global-Default": "boolean",
    "VolumeAttachment.Attached": "boolean",
    "CSINode.Drivers": "integer",
    "CSIDriver.AttachRequired": "boolean",
    "CSIDriver.PodInfoOnMount": "boolean",
    "CSIDriver.StorageCapacity": "boolean",
    "CSIDriver.RequiresRepublish": "boolean",
    "MutatingWebhookConfiguration.Webhooks": "integer",
    "ValidatingWebhookConfiguration.Webhooks": "integer",
    "ValidatingAdmissionPolicy.Validations": "integer",
    "MutatingAdmissionPolicy.Mutations": "integer",
}


def test_a_column_has_upstreams_type() -> None:
    found = {f"{r.kind.kind}.{column.name}": column.type for r in RESOURCES for column in r.columns}
    assert {name: type_ for name, type_ in found.items() if type_ != "string"} == TYPES


def test_names_are_marked_as_names_but_where_upstream_forgot_it() -> None:
    marked = {f"{r.kind.kind}.{c.name}" for r in RESOURCES for c in r.columns if c.format}
    plain = {f"{r.kind.kind}" for r in RESOURCES for c in r.columns if c.name == "Name" and not c.format}
    assert {name for name in marked if not name.endswith(".Name")} == {"VolumeAttachment.Attacher"}
    assert plain == {"StorageVersionMigration"}


def test_every_column_says_what_it_shows() -> None:
    said = Descriptions()
    silent = [
        f"{r.kind.kind}.{c.name}"
        for r in RESOURCES
        for c in r.columns
        if not (c.description or (c.of and said.of_field(c.of)))
    ]
    assert silent == ["RuntimeClass.Handler"]  # upstream looks for it among the metadata
