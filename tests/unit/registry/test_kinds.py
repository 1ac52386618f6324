import base64
import json
from typing import Any

import pytest

from kybern.api.codec import encode, from_builtins
from kybern.api.errors import BadRequest
from kybern.registry import RESOURCES
from kybern.registry.resource import Resource

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

RBAC = "rbac.authorization.k8s.io"


def resource(plural: str, group: str | None = None, version: str = "v1") -> Resource:
    found = [r for r in RESOURCES if r.kind.plural == plural and group in (None, r.kind.group)]
    return next((r for r in found if r.kind.version == version), found[0])


def made(plural: str, fields: dict[str, Any], group: str | None = None, version: str = "v1") -> Any:
    rules = resource(plural, group, version)
    meta = {"name": "x", **({"namespace": "default"} if rules.kind.namespaced else {}), **fields.get("metadata", {})}
    return rules.default(from_builtins(rules.kind.type, {**fields, "metadata": meta}))


def plain(obj: Any) -> Any:
    return json.loads(encode(obj))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PEM = b64("-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n")
HOOK: Any = {
    "name": "a.b.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
    "clientConfig": {"service": {"name": "s", "namespace": "n"}},
}  # fmt: skip
CRD: Any = {
    "metadata": {"name": "foos.a.io"},
    "spec": {
        "group": "a.io", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ],
    },
}  # fmt: skip


def crd(**spec: Any) -> Any:
    return {**CRD, "spec": {**CRD["spec"], **spec}}


def schema(found: dict[str, Any]) -> Any:
    return crd(versions=[{**CRD["spec"]["versions"][0], "schema": {"openAPIV3Schema": found}}])


def ingress(**path: Any) -> Any:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend, **path}]
    return {"spec": {"rules": [{"host": "a.io", "http": {"paths": paths}}]}}


def claim(**spec: Any) -> Any:
    wanted = {"requests": {"storage": "1Gi"}}
    return {"spec": {"accessModes": ["ReadWriteOnce"], "resources": wanted, **spec}}


@pytest.mark.parametrize(
    ("plural", "fields", "made_of"),
    [
        ("secrets", {"stringData": {"a": "b"}}, {"type": "Opaque", "data": {"a": "Yg=="}}),
        ("namespaces", {}, {"metadata": {"name": "x", "labels": {"kubernetes.io/metadata.name": "x"}}}),
        ("persistentvolumeclaims", {"spec": {}}, {"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
        (
            "persistentvolumes",
            {"spec": {"hostPath": {"path": "/x"}}},
            {
                "spec": {
                    "hostPath": {"path": "/x", "type": ""}, "persistentVolumeReclaimPolicy": "Retain",
                    "volumeMode": "Filesystem",
                }
            },
        ),
        (
            "rolebindings",
            {
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}],
            },
            {
                "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"},
                "subjects": [
                    {"kind": "User", "name": "u", "apiGroup": RBAC}, {"kind": "ServiceAccount", "name": "s"},
                ],
            },
        ),
        (
            "networkpolicies",
            {"spec": {"egress": [{"ports": [{"port": 53}]}]}},
            {"spec": {"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}]}},
        ),
        (
            "storageclasses", {"provisioner": "p"},
            {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
        ),
        ("priorityclasses", {"value": 1}, {"preemptionPolicy": "PreemptLowerPriority"}),
        (
            "validatingwebhookconfigurations",
            {"webhooks": [{**HOOK, "rules": [{"operations": ["*"]}]}]},
            {
                "webhooks": [
                    {
                        **HOOK, "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {},
                        "objectSelector": {}, "timeoutSeconds": 10, "rules": [{"operations": ["*"], "scope": "*"}],
                        "clientConfig": {"service": {"name": "s", "namespace": "n", "port": 443}},
                    }
                ]
            },
        ),
        (
            "customresourcedefinitions", CRD,
            {"spec": {**CRD["spec"], "conversion": {"strategy": "None"},
                      "names": {"plural": "foos", "kind": "Foo", "singular": "foo", "listKind": "FooList"}}},
        ),
        (
            "prioritylevelconfigurations",
            {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}},
            {
                "spec": {
                    "type": "Limited",
                    "limited": {
                        "nominalConcurrencyShares": 30, "lendablePercent": 0,
                        "limitResponse": {
                            "type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50},
                        },
                    },
                }
            },
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}},
            {
                "spec": {
                    "limits": [
                        {
                            "type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"},
                            "defaultRequest": {"cpu": "2", "memory": "1Mi"},
                        }
                    ]
                }
            },
        ),
        (
            "csidrivers",
            {"spec": {}},
            {
                "spec": {
                    "attachRequired": True, "podInfoOnMount": False, "storageCapacity": False,
                    "fsGroupPolicy": "ReadWriteOnceWithFSType", "requiresRepublish": False, "seLinuxMount": False,
                    "volumeLifecycleModes": ["Persistent"],
                }
            },
        ),
        ("endpointslices", {"addressType": "IPv4", "ports": [{}]}, {"ports": [{"name": "", "protocol": "TCP"}]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_object_is_made_whole(plural: str, fields: dict[str, Any], made_of: dict[str, Any]) -> None:
    found = plain(made(plural, fields))
    assert {key: found[key] for key in made_of} == made_of


@pytest.mark.parametrize(
    ("plural", "fields", "messages"),
    [
        ("configmaps", {"data": {"a": "1"}, "binaryData": {"b": ""}}, []),
        (
            "configmaps", {"data": {"a": "1"}, "binaryData": {"a": ""}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        ("configmaps", {"data": {"..": "1"}}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
        ("configmaps", {"data": {"a": "x" * 1048577}}, ["[]: Too long: may not be more than 1048576 bytes"]),
        ("secrets", {"data": {"a": b64("x" * 1048577)}}, ["data: Too long: may not be more than 1048576 bytes"]),
        (
            "secrets", {"type": "kubernetes.io/tls"},
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            "secrets", {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (
            "nodes", {"spec": {"taints": [{"key": "a", "effect": "Never"}]}},
            [
                'metadata.taints[0].effect: Unsupported value: "Never": '
                'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
            ],
        ),
        (
            "nodes", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}] * 2}},
            [
                'metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: '
                "taints must be unique by key and effect pair"
            ],
        ),
        ("roles", {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}, []),
        (
            "roles", {"rules": [{"verbs": []}]},
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            "roles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'],
        ),
        (
            "clusterrolebindings",
            {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]},
            [
                'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
                "subjects[0].namespace: Required value",
            ],
        ),
        (
            "rolebindings",
            {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Robot", "name": "s"}]},
            ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"'],
        ),
        ("persistentvolumeclaims", claim(), []),
        ("persistentvolumeclaims", claim(accessModes=[]), ["spec.accessModes: Required value: at least 1 access mode is required"]),
        ("persistentvolumeclaims", claim(resources={}), ["spec.resources[storage]: Required value"]),
        (
            "persistentvolumeclaims", claim(resources={"requests": {"storage": "0"}}),
            ['spec.resources[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            "persistentvolumeclaims", claim(accessModes=["ReadWriteOnce", "ReadWriteOncePod"]),
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            "persistentvolumes", {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}},
            ["spec: Required value: must specify a volume type"],
        ),
        ("storageclasses", {"provisioner": ""}, ["provisioner: Required value"]),
        (
            "leases", {"spec": {"leaseDurationSeconds": 0}},
            ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        ("endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}, []),
        (
            "endpoints", {"subsets": [{}]},
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (
            "endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
            ["endpoints[0].addresses: Required value: must contain at least 1 address"],
        ),
        (
            "endpointslices", {"addressType": "IP", "endpoints": []},
            ['addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"'],
        ),
        ("ingresses", ingress(), []),
        ("ingresses", {"spec": {}}, ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
        (
            "ingresses", ingress(pathType=""),
            ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            "ingresses", ingress(path="x"),
            ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'],
        ),
        (
            "ingresses", ingress(backend={"service": {"name": "s"}}),
            ["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
        ),
        (
            "networkpolicies", {"spec": {"ingress": [{"from": [{}]}]}},
            ["spec.ingress[0].from[0]: Required value: must specify a peer"],
        ),
        (
            "networkpolicies", {"spec": {"policyTypes": ["Sideways"]}},
            ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'],
        ),
        (
            "poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
            ['spec: Invalid value: {"maxUnavailable":1,"minAvailable":1}: minAvailable and maxUnavailable cannot be both set'],
        ),
        (
            "priorityclasses", {"metadata": {"name": "system-mine"}},
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. "
                "error: system-mine is not a known system priority class"
            ],
        ),
        (
            "priorityclasses", {"value": 1000000001},
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        ("runtimeclasses", {"handler": ""}, [f'handler: Invalid value: "": {LABEL}']),
        (
            "limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}},
            [
                'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": '
                "min value 2 is greater than default request value 1",
                'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
            ],
        ),
        ("validatingwebhookconfigurations", {"webhooks": [HOOK]}, []),
        (
            "validatingwebhookconfigurations", {"webhooks": [{**HOOK, "name": "short"}]},
            [
                'webhooks[0].name: Invalid value: "short": '
                "should be a domain with at least three segments separated by dots"
            ],
        ),
        (
            "validatingwebhookconfigurations", {"webhooks": [{**HOOK, "timeoutSeconds": 31}]},
            ["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
        ),
        (
            "mutatingwebhookconfigurations", {"webhooks": [{**HOOK, "clientConfig": {}}]},
            ["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        ("customresourcedefinitions", CRD, []),
        (
            "customresourcedefinitions", {**CRD, "metadata": {"name": "foos"}},
            ['metadata.name: Invalid value: "foos": must be spec.names.plural+"."+spec.group'],
        ),
        (
            "customresourcedefinitions", schema({}),
            ["spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root"],
        ),
        (
            "customresourcedefinitions", schema({"type": "object", "properties": {"a": {}}}),
            [
                "spec.versions[0].schema.openAPIV3Schema.properties[a].type: Required value: "
                "must not be empty for specified object fields"
            ],
        ),
        (
            "customresourcedefinitions",
            schema({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}),
            [
                "spec.versions[0].schema.openAPIV3Schema.properties[a].items.type: Required value: "
                "must not be empty for specified array items"
            ],
        ),
        (
            "customresourcedefinitions",
            schema({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}), [],
        ),
        (
            "apiservices", {"metadata": {"name": "v1.b.io"}, "spec": {
                "group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}},
            ['metadata.name: Invalid value: "v1.b.io": must be `spec.version+"."+spec.group`: "v1.a.io"'],
        ),
        (
            "certificatesigningrequests",
            {"spec": {"request": PEM, "signerName": "a.io/b", "usages": ["client auth"]}}, [],
        ),
        (
            "certificatesigningrequests",
            {"spec": {"request": PEM, "signerName": "a.io/b", "usages": ["client auth"], "expirationSeconds": 5}},
            [
                "spec.expirationSeconds: Invalid value: 5: "
                "may not specify a duration less than 600 seconds (10 minutes)"
            ],
        ),
        (
            "flowschemas", {"spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 10001}},
            ["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        ),
        (
            "volumeattachments", {"spec": {"attacher": "a", "nodeName": "n", "source": {}}},
            ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        ),
        ("resourcequotas", {"spec": {"hard": {"pods": "-1"}}}, [
            'spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0'
        ]),
        ("replicationcontrollers", {"spec": {}}, ["spec.selector: Required value", "spec.template: Required value"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_object_is_judged_in_upstreams_words(plural: str, fields: dict[str, Any], messages: list[str]) -> None:
    assert [str(error) for error in resource(plural).validate(made(plural, fields))] == messages


@pytest.mark.parametrize(
    ("plural", "new", "old", "messages"),
    [
        (
            "configmaps", {"immutable": True, "data": {"a": "2"}}, {"immutable": True, "data": {"a": "1"}},
            ["data: Forbidden: field is immutable when `immutable` is set"],
        ),
        (
            "configmaps", {"data": {"a": "1"}}, {"immutable": True, "data": {"a": "1"}},
            ["immutable: Forbidden: field is immutable when `immutable` is set"],
        ),
        ("configmaps", {"immutable": True}, {}, []),
        ("secrets", {"type": "b"}, {"type": "a"}, ['type: Invalid value: "b": field is immutable']),
        (
            "rolebindings", {"roleRef": {"kind": "Role", "name": "b"}}, {"roleRef": {"kind": "Role", "name": "a"}},
            [f'roleRef: Invalid value: {{"kind":"Role","name":"b","apiGroup":"{RBAC}"}}: cannot change roleRef'],
        ),
        ("priorityclasses", {"value": 2}, {"value": 1}, ["value: Forbidden: may not be changed in an update."]),
        (
            "storageclasses", {"provisioner": "b"}, {"provisioner": "a"},
            ["provisioner: Forbidden: updates to provisioner are forbidden."],
        ),
        (
            "persistentvolumeclaims", claim(volumeMode="Block"), claim(),
            [
                "spec: Forbidden: spec is immutable after creation except resources.requests and "
                "volumeAttributesClassName for bound claims\n"
                '  core.PersistentVolumeClaimSpec{\n- \tvolumeMode: "Filesystem",\n+ \tvolumeMode: "Block",\n  }',
                'volumeMode: Invalid value: "Block": field is immutable',
            ],
        ),
        (
            "persistentvolumeclaims", claim(resources={"requests": {"storage": "2Gi"}}),
            {**claim(), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}, [],
        ),
        (
            "persistentvolumeclaims", claim(resources={"requests": {"storage": "512Mi"}}),
            {**claim(), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}},
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        ("persistentvolumeclaims", claim(volumeName="pv"), claim(), []),
        ("nodes", {"spec": {"podCIDR": "10.244.1.0/24"}}, {}, []),
        (
            "nodes", {"spec": {"podCIDR": "10.244.2.0/24"}}, {"spec": {"podCIDR": "10.244.1.0/24"}},
            ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
        ),
        (
            "endpointslices", {"addressType": "IPv6"}, {"addressType": "IPv4"},
            ['addressType: Invalid value: "IPv6": field is immutable'],
        ),
        ("controllerrevisions", {"data": {"a": 2}, "revision": 1}, {"data": {"a": 1}, "revision": 1},
         ['data: Invalid value: {"a":2}: field is immutable']),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_must_not_change_does_not(plural: str, new: Any, old: Any, messages: list[str]) -> None:
    rule = resource(plural).validate_update
    assert rule is not None
    assert [str(error) for error in rule(made(plural, new), made(plural, old))] == messages


@pytest.mark.parametrize(("text", "at"), [("not base64", 3), ("YQ=", 0), ("YWFhYQ", 4)])
def test_bytes_that_are_no_base64_cannot_be_decoded(text: str, at: int) -> None:
    with pytest.raises(BadRequest) as raised:
        list(resource("secrets").validate(made("secrets", {"data": {"a": text}})))
    why = f"illegal base64 data at input byte {at}"
    assert raised.value.message == f'Secret in version "v1" cannot be handled as a Secret: {why}'


def test_base64_in_lines_is_kept_in_one() -> None:
    assert plain(made("secrets", {"data": {"a": "YWFh\nYQ==\n"}}))["data"] == {"a": "YWFhYQ=="}


def test_a_claims_source_is_told_in_both_fields() -> None:
    source = {"kind": "PersistentVolumeClaim", "name": "a"}
    found = plain(
        resource("persistentvolumeclaims").on_create(made("persistentvolumeclaims", claim(dataSource=source)))
    )
    assert found["spec"]["dataSourceRef"] == source


CLAIM_SOURCE = {"kind": "PersistentVolumeClaim", "name": "a"}
OTHER_SOURCE = {"apiGroup": "example.com", "kind": "Widget", "name": "w"}
SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
FROM_ELSEWHERE = {**CLAIM_SOURCE, "namespace": "other"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"dataSource": OTHER_SOURCE}, (None, None)), ({"dataSource": SNAPSHOT}, (SNAPSHOT, SNAPSHOT)),
        ({"dataSourceRef": OTHER_SOURCE}, (OTHER_SOURCE, OTHER_SOURCE)), ({"dataSourceRef": FROM_ELSEWHERE}, (None, None)),
        ({"dataSource": CLAIM_SOURCE, "dataSourceRef": FROM_ELSEWHERE}, (CLAIM_SOURCE, CLAIM_SOURCE)),
    ],
)  # fmt: skip
def test_a_claim_is_filled_from_what_upstream_fills_it_from(sent: Any, kept: Any) -> None:
    claims = resource("persistentvolumeclaims")
    spec = plain(claims.on_create(made("persistentvolumeclaims", claim(**sent))))["spec"]
    assert (spec.get("dataSource"), spec.get("dataSourceRef")) == kept


def test_a_claim_that_is_sent_again_with_one_of_its_sources_is_the_same_claim() -> None:
    claims = resource("persistentvolumeclaims")
    old = claims.on_create(made("persistentvolumeclaims", claim(dataSource=CLAIM_SOURCE)))
    for field in ("dataSource", "dataSourceRef"):
        new = claims.on_update(made("persistentvolumeclaims", claim(**{field: CLAIM_SOURCE})), old)
        assert list(claims.validate_update(new, old)) == [], field


def test_of_the_secrets_of_an_account_their_names_are_kept() -> None:
    accounts = resource("serviceaccounts")
    sent = made("serviceaccounts", {"secrets": [{"name": "s", "namespace": "other", "uid": "u", "kind": "Secret"}]})
    assert plain(accounts.on_create(sent))["secrets"] == [{"name": "s"}]
    assert plain(accounts.on_update(sent, sent))["secrets"] == [{"name": "s"}]


def test_an_old_ingress_class_is_warned_of() -> None:
    old = made("ingresses", {**ingress(), "metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}})
    assert list(resource("ingresses").warnings(old, None)) == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]


# --- namespaces -------------------------------------------------------------------------------------------------------


def test_a_new_namespace_is_active_and_has_its_finalizer() -> None:
    created = plain(resource("namespaces").on_create(made("namespaces", {})))
    assert created["spec"] == {"finalizers": ["kubernetes"]}
    assert created["status"] == {"phase": "Active"}


def test_only_finalize_changes_a_namespaces_finalizers() -> None:
    namespaces = resource("namespaces")
    old = namespaces.on_create(made("namespaces", {}))
    empty = made("namespaces", {"spec": {"finalizers": []}})
    assert namespaces.on_update(empty, old).spec == old.spec
    (finalize,) = [sub for sub in namespaces.subresources if sub.name == "finalize"]
    assert finalize.write is not None
    assert not finalize.write(old, empty).spec.finalizers


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_is_the_same_in_both_versions() -> None:
    new = made(
        "events",
        {
            "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
            "note": "it happened", "reason": "Why", "action": "Doing", "type": "Normal",
            "reportingController": "me", "reportingInstance": "me-1", "eventTime": "2026-01-01T00:00:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.000000Z"},
        },
        "events.k8s.io",
    )  # fmt: skip
    rules = resource("events", "events.k8s.io")
    stored = rules.to_storage(new)
    assert (stored.involved_object.name, stored.message, stored.reporting_component) == ("p", "it happened", "me")
    assert rules.from_storage(stored) == new
    assert list(rules.validate(new)) == []


def test_an_event_lies_in_the_namespace_of_what_it_is_about() -> None:
    event = made("events", {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "other"}}, "")
    assert [str(error) for error in resource("events", "").validate(event)] == [
        'involvedObject.namespace: Invalid value: "other": does not match event.namespace'
    ]
    node = made("events", {"involvedObject": {"kind": "Node", "name": "n"}}, "")
    assert list(resource("events", "").validate(node)) == []


# --- autoscalers ------------------------------------------------------------------------------------------------------

TARGET = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3}


def test_an_old_autoscaler_is_stored_in_the_new_form() -> None:
    rules = resource("horizontalpodautoscalers", version="v1")
    old = made("horizontalpodautoscalers", {"spec": {**TARGET, "targetCPUUtilizationPercentage": 50}})
    stored = plain(rules.to_storage(old))
    assert stored["apiVersion"] == "autoscaling/v2"
    target = {"type": "Utilization", "averageUtilization": 50}
    assert stored["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert rules.from_storage(rules.to_storage(old)) == old


def test_what_the_old_form_cannot_say_travels_in_annotations() -> None:
    rules = resource("horizontalpodautoscalers", version="v1")
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    new = made("horizontalpodautoscalers", {"spec": {**TARGET, "metrics": [memory], "behavior": {}}}, version="v2")
    old = rules.from_storage(new)
    assert "autoscaling.alpha.kubernetes.io/metrics" in old.metadata.annotations
    assert rules.to_storage(old) == new


def test_an_autoscaler_without_metrics_looks_at_the_cpu() -> None:
    found = plain(made("horizontalpodautoscalers", {"spec": TARGET}, version="v2").spec)
    assert found["minReplicas"] == 1
    assert found["metrics"][0]["resource"] == {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
    }  # fmt: skip


# --- certificates -----------------------------------------------------------------------------------------------------


def test_approval_and_status_do_not_write_each_others_part() -> None:
    rules = resource("certificatesigningrequests")
    subresources = {sub.name: sub for sub in rules.subresources}
    spec = {"spec": {"request": PEM, "signerName": "a.io/b", "usages": ["client auth"]}}
    stored = made("certificatesigningrequests", spec)
    approved = {"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="}
    sent = made("certificatesigningrequests", {**spec, "status": approved})
    approve, told = subresources["approval"].write, subresources["status"].write
    assert approve is not None
    assert told is not None
    assert approve(stored, sent).status.certificate is None
    assert approve(stored, sent).status.conditions[0].type == "Approved"
    assert told(stored, sent).status.certificate == "eA=="
    assert told(stored, sent).status.conditions is None


def test_a_definition_remembers_every_version_it_was_stored_in() -> None:
    rules = resource("customresourcedefinitions")
    first = rules.on_create(made("customresourcedefinitions", CRD))
    assert first.status.stored_versions == ("v1",)
    newer = crd(
        versions=[{**CRD["spec"]["versions"][0], "name": "v2"}, {**CRD["spec"]["versions"][0], "storage": False}]
    )
    second = rules.on_update(made("customresourcedefinitions", newer), first)
    assert second.status.stored_versions == ("v1", "v2")
