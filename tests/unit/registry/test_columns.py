from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.registry import RESOURCES
from kybern.registry.columns import age, human, selector_text, shortened
from kybern.registry.resource import Resource

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
M, H, D, Y = 60, 3600, 86400, 86400 * 365


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "<invalid>"), (-1, "0s"), (0, "0s"), (45, "45s"), (119, "119s"), (2 * M, "2m"), (5 * M + 32, "5m32s"),
        (10 * M, "10m"), (2 * H + 59 * M, "179m"), (3 * H, "3h"), (7 * H + 30 * M, "7h30m"), (8 * H, "8h"),
        (47 * H, "47h"), (3 * D + 4 * H, "3d4h"), (7 * D, "7d"), (8 * D, "8d"), (729 * D, "729d"), (2 * Y, "2y"),
        (3 * Y + 10 * D, "3y10d"), (9 * Y, "9y"),
    ],
)  # fmt: skip
def test_a_duration_is_printed_in_two_units_at_most(seconds: int, text: str) -> None:
    assert human(seconds) == text


def test_an_age_is_unknown_where_there_is_no_moment() -> None:
    assert age(None, NOW) == "<unknown>"
    assert age("yesterday", NOW) == "<unknown>"
    assert age("2025-12-31T23:59:00Z", NOW) == "60s"


def test_a_missing_selector_is_none() -> None:
    assert selector_text(None) == "<none>"


def test_a_long_list_is_cut() -> None:
    assert shortened(["a", "b", "c", "d"], 3) == "a,b,c + 1 more..."
    assert shortened([], 3) == "<none>"


def resource(plural: str, version: str = "v1", group: str | None = None) -> Resource:
    return next(
        r for r in RESOURCES if r.kind.plural == plural and r.kind.version == version and group in (None, r.kind.group)
    )


def row(plural: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    found = resource(plural, version)
    created = {"creationTimestamp": "2025-12-31T23:00:00Z", "name": "x", "namespace": "default"}
    fields["metadata"] = {**created, **fields.get("metadata", {})}
    obj = from_builtins(found.kind.type, fields)
    return {column.name: column.cell(obj, NOW) for column in found.columns}


TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]},
}
SELECTOR = {"matchLabels": {"app": "web"}}


@pytest.mark.parametrize(
    ("plural", "fields", "cells"),
    [
        (
            "deployments",
            {
                "spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
            },
            {
                "Name": "x", "Ready": "2/3", "Up-to-date": 3, "Available": 1, "Age": "60m", "Containers": "a,b",
                "Images": "i:1,j:2", "Selector": "app=web",
            },
        ),
        (
            "replicasets",
            {
                "spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
                "status": {"replicas": 3, "readyReplicas": 2},
            },
            {
                "Name": "x", "Desired": 3, "Current": 3, "Ready": 2, "Age": "60m", "Containers": "a,b",
                "Images": "i:1,j:2", "Selector": "app=web",
            },
        ),
        (
            "services",
            {
                "spec": {
                    "type": "NodePort", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
                    "ports": [
                        {"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
                    ],
                    "selector": {"app": "web"},
                }
            },
            {
                "Name": "x", "Type": "NodePort", "Cluster-IP": "10.96.0.5", "External-IP": "<none>",
                "Port(s)": "80:30080/TCP,53/UDP", "Age": "60m", "Selector": "app=web",
            },
        ),
        (
            "services",
            {"spec": {"type": "LoadBalancer"}},
            {
                "Name": "x", "Type": "LoadBalancer", "Cluster-IP": "<none>", "External-IP": "<pending>",
                "Port(s)": "<none>", "Age": "60m", "Selector": "<none>",
            },
        ),
        (
            "nodes",
            {
                "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian", "kernelVersion": "6.1"},
                },
            },
            {
                "Name": "x", "Status": "Ready,SchedulingDisabled", "Roles": "control-plane,edge", "Age": "60m",
                "Version": "v1.37.0", "Internal-IP": "10.0.0.1", "External-IP": "<none>", "OS-Image": "Debian",
                "Kernel-Version": "6.1", "Container-Runtime": "<unknown>",
            },
        ),
        (
            "endpoints",
            {
                "subsets": [
                    {
                        "addresses": [{"ip": f"10.0.0.{n}"} for n in range(1, 6)],
                        "ports": [{"port": 80, "protocol": "TCP"}],
                    }
                ]
            },
            {"Name": "x", "Endpoints": "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "Age": "60m"},
        ),
        (
            "endpointslices",
            {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]},
            {"Name": "x", "AddressType": "IPv4", "Ports": "80", "Endpoints": "10.0.0.1", "Age": "60m"},
        ),
        ("configmaps", {"data": {"a": "b"}, "binaryData": {"c": ""}}, {"Name": "x", "Data": 2, "Age": "60m"}),
        ("secrets", {"type": "Opaque", "data": {"a": ""}}, {"Name": "x", "Type": "Opaque", "Data": 1, "Age": "60m"}),
        ("namespaces", {"status": {"phase": "Active"}}, {"Name": "x", "Status": "Active", "Age": "60m"}),
        (
            "rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
            },
            {
                "Name": "x", "Role": "Role/r", "Age": "60m", "Users": "u", "Groups": "", "ServiceAccounts": "n/s",
            },
        ),
        (
            "events",
            {
                "involvedObject": {"kind": "Pod", "name": "p"}, "type": "Warning", "reason": "Failed",
                "message": " no \n", "firstTimestamp": "2025-12-31T23:50:00Z",
                "lastTimestamp": "2025-12-31T23:59:30Z", "count": 4, "source": {"component": "kubelet", "host": "n1"},
            },
            {
                "Last Seen": "30s", "Type": "Warning", "Reason": "Failed", "Object": "pod/p", "Subobject": "",
                "Source": "kubelet, n1", "Message": "no", "First Seen": "10m", "Count": 4, "Name": "x",
            },
        ),
        (
            "jobs",
            {
                "spec": {"completions": 3, "parallelism": 1, "template": TEMPLATE},
                "status": {"succeeded": 1, "startTime": "2025-12-31T23:58:00Z"},
            },
            {
                "Name": "x", "Status": "Running", "Completions": "1/3", "Duration": "2m", "Age": "60m",
                "Containers": "a,b", "Images": "i:1,j:2", "Selector": "<none>",
            },
        ),
        (
            "persistentvolumeclaims",
            {
                "spec": {"volumeName": "pv1", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
            },
            {
                "Name": "x", "Status": "Bound", "Volume": "pv1", "Capacity": "1Gi", "Access Modes": "RWO",
                "StorageClass": "fast", "VolumeAttributesClass": "<unset>", "Age": "60m", "VolumeMode": "Filesystem",
            },
        ),
        (
            "storageclasses",
            {
                "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
            },
            {
                "Name": "x (default)", "Provisioner": "p", "ReclaimPolicy": "Delete",
                "VolumeBindingMode": "Immediate", "AllowVolumeExpansion": False, "Age": "60m",
            },
        ),
        (
            "ingresses",
            {"spec": {"rules": [{"host": "a.io"}], "tls": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}},
            {
                "Name": "x", "Class": "<none>", "Hosts": "a.io", "Address": "1.2.3.4", "Ports": "80, 443", "Age": "60m",
            },
        ),
        (
            "apiservices",
            {"spec": {}, "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}},
            {"Name": "x", "Service": "Local", "Available": "False (Gone)", "Age": "60m"},
        ),
        (
            "certificatesigningrequests",
            {
                "spec": {"signerName": "a.io/b", "username": "u", "expirationSeconds": 3600},
                "status": {"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="},
            },
            {
                "Name": "x", "Age": "60m", "SignerName": "a.io/b", "Requestor": "u", "RequestedDuration": "60m",
                "Condition": "Approved,Issued",
            },
        ),
        (
            "resourcequotas",
            {"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}},
            {"Name": "x", "Request": "pods: 1/5", "Limit": "limits.cpu: 0/2", "Age": "60m"},
        ),
        (
            "priorityclasses", {"value": 7, "preemptionPolicy": "Never"},
            {"Name": "x", "Value": 7, "Global-Default": False, "Age": "60m", "PreemptionPolicy": "Never"},
        ),
        ("leases", {"spec": {"holderIdentity": "me"}}, {"Name": "x", "Holder": "me", "Age": "60m"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_row_is_what_upstream_prints(plural: str, fields: dict[str, Any], cells: dict[str, Any]) -> None:
    assert row(plural, **fields) == cells


DELETED = {"deletionTimestamp": "2025-12-31T23:59:00Z"}
POINTS = {"loadBalancer": {"ingress": [{"hostname": "b.io"}, {"ip": "1.2.3.4"}, {}, {"hostname": "b.io"}]}}
RULES = [{"host": host} for host in ("", "a.io", "b.io", "c.io")]
TAINT = {"key": "k", "value": "v", "effect": "NoSchedule", "timeAdded": "2025-12-31T23:59:00Z"}


@pytest.mark.parametrize(
    ("plural", "fields", "column", "cell"),
    [
        ("services", {"spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]}, "status": POINTS},
         "External-IP", "1.2.3.4,b.io,9.9.9.9"),
        ("ingresses", {"status": POINTS}, "Address", "1.2.3.4,b.io"),
        ("ingresses", {"spec": {"rules": RULES}}, "Hosts", "a.io,b.io,c.io"),
        ("ingresses", {"spec": {"rules": [*RULES, {}, {"host": "d.io"}]}}, "Hosts", "a.io,b.io,c.io + 3 more..."),
        ("ingresses", {"spec": {"rules": [{}]}}, "Hosts", "*"),
        ("endpointslices", {"ports": [{"name": "web"}, {}]}, "Ports", "web,*"),
        ("persistentvolumeclaims", {"spec": {"volumeName": "v", "volumeAttributesClassName": ""}}, "Capacity", "0"),
        ("persistentvolumeclaims", {"spec": {"volumeAttributesClassName": ""}}, "VolumeAttributesClass", ""),
        ("persistentvolumes", {"spec": {}, "metadata": DELETED}, "Status", "Terminating"),
        ("csidrivers", {"spec": {}}, "TokenRequests", "<unset>"),
        ("csidrivers", {"spec": {"tokenRequests": [{"audience": ""}]}}, "TokenRequests", ""),
        ("csidrivers", {"spec": {}}, "Modes", "<none>"),
        ("resourceclaims", {"metadata": DELETED}, "State", "deleted"),
        ("resourceclaims", {"metadata": DELETED, "status": {"allocation": {}, "reservedFor": [{}]}},
         "State", "deleted,allocated,reserved"),
        ("devicetaintrules", {"spec": {"taint": TAINT}}, "Effect", "NoSchedule"),
        ("devicetaintrules", {"spec": {"taint": TAINT}}, "TimeAdded", "60s"),
        ("podcertificaterequests", {"status": {"conditions": [{"type": "Issued", "status": "True"}]}}, "State", "Issued"),
        ("validatingadmissionpolicybindings", {"spec": {"paramRef": {"name": "p"}}}, "ParamRef", "*/p"),
        ("validatingadmissionpolicybindings", {"spec": {"paramRef": {}}}, "ParamRef", "<unset>"),
        ("validatingadmissionpolicybindings",
         {"spec": {"paramRef": {"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [
             {"key": "k", "operator": "In", "values": ["x", "y"]}]}}}},
         "ParamRef",
         "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{"
         "LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"),
        ("apiservices", {"status": {"conditions": [{"type": "Available", "status": "False"}]}}, "Available", "False"),
        ("events", {"series": {"count": 3}, "lastTimestamp": "2025-12-31T23:59:00Z"}, "Last Seen", "<unknown>"),
        ("events", {"reportingInstance": "me"}, "Source", ", me"),
    ],
)  # fmt: skip
def test_a_cell_is_what_upstream_prints(plural: str, fields: dict[str, Any], column: str, cell: Any) -> None:
    assert row(plural, **fields)[column] == cell


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ([], "Unknown"),
        ([{"type": "Ready", "status": "False"}], "NotReady"),
        ([{"type": "Ready", "status": "Unknown"}], "NotReady"),
    ],
)
def test_a_node_is_ready_only_when_it_says_so(conditions: list[Any], status: str) -> None:
    assert row("nodes", status={"conditions": conditions})["Status"] == status


def test_an_autoscaler_prints_each_target_with_its_current_value() -> None:
    found = row(
        "horizontalpodautoscalers",
        "v2",
        spec={
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
        status={"currentReplicas": 2, "desiredReplicas": 2},
    )
    assert found["Reference"] == "Deployment/web"
    assert found["Targets"] == "cpu: <unknown>/80%"
    assert found["MinPods"] == "<unset>"


RATIO, EACH, WHOLE = {"averageUtilization": 80}, {"averageValue": "2"}, {"value": "9"}


@pytest.mark.parametrize(
    ("type_", "target", "current", "text"),
    [
        ("Resource", RATIO, {}, "cpu: <unknown>/80%"),
        ("Resource", EACH, None, "cpu: <unknown>/2"),
        ("Resource", EACH, {}, "cpu: <nil>/2"),
        ("ContainerResource", EACH, {}, "cpu: <nil>/2"),
        ("Pods", EACH, {}, "<nil>/2"),
        ("Pods", EACH, {"averageValue": "0"}, "0/2"),
        ("Object", EACH, {}, "<unknown>/2 (avg)"),
        ("External", EACH, {}, "<unknown>/2 (avg)"),
        ("Object", WHOLE, None, "<unknown>/9"),
        ("Object", WHOLE, {}, "<nil>/9"),
        ("External", WHOLE, {"averageValue": "1"}, "<nil>/9"),
        ("External", WHOLE, {"value": "1"}, "1/9"),
    ],
)
def test_a_metric_without_a_value_is_not_one_without_a_status(
    type_: str, target: dict[str, Any], current: dict[str, Any] | None, text: str
) -> None:
    name = type_[0].lower() + type_[1:]
    metric = {"name": "cpu"} if "Resource" in type_ else {"metric": {"name": "m"}}
    found = row(
        "horizontalpodautoscalers",
        "v2",
        spec={"metrics": [{"type": type_, name: {**metric, "target": target}}]},
        status={} if current is None else {"currentMetrics": [{"type": type_, name: {**metric, "current": current}}]},
    )
    assert found["Targets"] == text


def test_wide_columns_have_priority_one() -> None:
    wide = [column.name for column in resource("pods").columns if column.priority]
    assert wide == ["IP", "Node", "Nominated Node", "Readiness Gates"]
