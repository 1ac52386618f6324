"""What is odd about an object and allowed all the same, in upstream's words: some fields of a valid object made something else.

Pods and what makes pods have a table of their own (`test_pod_warnings.py`).
"""

import base64
import time
from typing import Any

import pytest
from spoilt import Places, made

from kybern.api.codec import decode, encode
from kybern.api.core_v1 import Pod
from kybern.registry import RESOURCES
from kybern.registry.pods import PODS
from kybern.registry.tls_pairs import MARKS_MAX
from kybern.web.pki import Pair, create_ca

OS = 'deprecated since v1.14; use "kubernetes.io/os" instead'
BETA_OS = "beta.kubernetes.io/os"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
CLASS_TOLD = f'metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead'
FRACTION = 'fractional byte value "1500m" is invalid, must be an integer'
FUTURE = "will be considered invalid in a future Kubernetes release: use"
CANONICAL = "should be in RFC 5952 canonical format"
MAPPED = "::ffff:10.0.0.1"
IS_MAPPED = f'non-standard IP address "{MAPPED}" {FUTURE} "10.0.0.1"'
CLUSTER_IP = {"spec.type": "ClusterIP", "spec.externalTrafficPolicy": None}
HEADLESS = {**CLUSTER_IP, "spec.clusterIP": "None", "spec.sessionAffinity": "None", "spec.sessionAffinityConfig": None}

# (kind, what is put where, what is said)
CASES: list[tuple[str, Places, list[str]]] = [
    ("StorageClass", {}, []),
    ("StorageClass", {"allowedTopologies.0.matchLabelExpressions.0.key": BETA_OS}, [f"allowedTopologies[0].matchLabelExpressions[0].key: {OS}"]),
    ("CSIStorageCapacity", {"nodeTopology": {"matchLabels": {BETA_OS: "linux"}}}, [f"nodeTopology.matchLabels.{BETA_OS}: {OS}"]),
    ("CSIStorageCapacity", {"nodeTopology": {"matchExpressions": [{"key": BETA_OS, "operator": "Exists"}]}}, [f"nodeTopology.matchExpressions[0].key: {BETA_OS} is {OS}"]),
    ("RuntimeClass", {"scheduling": {"nodeSelector": {BETA_OS: "linux"}}}, [f"scheduling.nodeSelector: {OS}"]),
    ("PersistentVolumeClaim", {"metadata.annotations": {BETA_CLASS: "fast"}}, [CLASS_TOLD]),
    ("PersistentVolumeClaim", {"spec.resources.requests.storage": "1500m"}, [f"spec.resources.requests[storage]: {FRACTION}"]),
    ("StatefulSet", {"spec.volumeClaimTemplates.0.spec.resources.requests.storage": "1500m"}, [f"spec.volumeClaimTemplates[0].resources.requests[storage]: {FRACTION}"]),
    ("StatefulSet", {"spec.revisionHistoryLimit": -1}, ["spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"]),
    ("Node", {"spec.externalID": "x"}, ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]),
    ("Node", {"spec.configSource": {"configMap": {"name": "a"}}}, ["spec.configSource: the feature is removed"]),
    ("Node", {"spec.podCIDR": "10.1.2.3/24", "spec.podCIDRs": ["10.1.2.3/24"]}, ['spec.podCIDRs[0]: CIDR value "10.1.2.3/24" is ambiguous in this context (should be "10.1.2.0/24" or "10.1.2.3/32"?)']),
    ("NetworkPolicy", {"spec.ingress.0.from.1.ipBlock": {"cidr": "::ffff:10.0.0.0/104", "except": ["2001:db8:0:0::/64"]}}, [f'spec.ingress[0].from[1].ipBlock.cidr: non-standard CIDR value "::ffff:10.0.0.0/104" {FUTURE} "10.0.0.0/8"', f'spec.ingress[0].from[1].ipBlock.except[0]: IPv6 CIDR value "2001:db8:0:0::/64" {CANONICAL} ("2001:db8::/64")']),
    ("NetworkPolicy", {"spec.egress.0.to": [{"ipBlock": {"cidr": "10.0.0.0/08"}}]}, [f'spec.egress[0].to[0].ipBlock.cidr: non-standard CIDR value "10.0.0.0/08" {FUTURE} "10.0.0.0/8"']),
    ("Endpoints", {"subsets.0.addresses.0.ip": MAPPED}, [f"subsets[0].addresses[0].ip: {IS_MAPPED}"]),
    ("Endpoints", {"subsets.0.addresses.0.ip": MAPPED, "metadata.labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}, []),
    ("EndpointSlice", {"endpoints.0.addresses.0": MAPPED}, [f"endpoints[0].addresses[0]: {IS_MAPPED}"]),
    ("EndpointSlice", {"endpoints.0.addresses.0": MAPPED, "metadata.labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}}, []),
    ("EndpointSlice", {"addressType": "FQDN", "endpoints.0.addresses.0": "a.example"}, ["spec.addressType: FQDN endpoints are deprecated"]),
    ("Service", {"metadata.annotations": {"service.kubernetes.io/topology-aware-hints": "Auto"}}, ["annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"]),
    ("Service", {"spec.externalIPs": [MAPPED, "2001:DB8::1"]}, [f"spec.externalIPs[0]: {IS_MAPPED}", f'spec.externalIPs[1]: IPv6 address "2001:DB8::1" {CANONICAL} ("2001:db8::1")']),
    ("Service", {"spec.type": "LoadBalancer", "spec.loadBalancerIP": MAPPED}, [f"spec.loadBalancerIP: {IS_MAPPED}"]),
    ("Service", {"spec.clusterIP": MAPPED, "spec.clusterIPs": [MAPPED]}, [f"spec.clusterIPs[0]: {IS_MAPPED}"]),
    ("Service", {"spec.type": "LoadBalancer", "spec.loadBalancerSourceRanges": ["10.1.2.3/24"]}, ['spec.loadBalancerSourceRanges[0]: CIDR value "10.1.2.3/24" is ambiguous in this context (should be "10.1.2.0/24" or "10.1.2.3/32"?)']),
    ("Service", {**HEADLESS, "spec.loadBalancerIP": "10.0.0.1", "spec.externalIPs": ["10.0.0.2"]}, ["spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services"]),
    ("Service", {**HEADLESS, "spec.sessionAffinity": "ClientIP"}, ["spec.SessionAffinity is ignored for headless services"]),
    ("Service", {"spec.type": "ExternalName", "spec.externalName": "a.example", "spec.externalIPs": ["10.0.0.2"]}, ['spec.externalIPs is ignored when spec.type is "ExternalName"']),
    ("Service", {"spec.externalName": "a.example"}, ['spec.externalName is ignored when spec.type is not "ExternalName"']),
    ("Service", {"spec.trafficDistribution": "PreferClose"}, ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"']),
    ("PersistentVolume", {"metadata.annotations": {BETA_CLASS: "fast", "volume.beta.kubernetes.io/mount-options": "ro"}}, [CLASS_TOLD, 'metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead']),
    ("PersistentVolume", {"spec.persistentVolumeReclaimPolicy": "Recycle"}, ["spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."]),
    ("PersistentVolume", {"spec.nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": BETA_OS, "operator": "Exists"}]}]}}}, [f"spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: {BETA_OS} is {OS}"]),
    ("PersistentVolume", {"spec.rbd": {"image": "i", "monitors": ["m"]}}, ["spec.rbd: deprecated in v1.28, non-functional in v1.31+"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "places", "warned"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_odd_is_said(kind: str, places: Places, warned: list[str]) -> None:
    rules = next(one for one in RESOURCES if one.kind.kind == kind)
    said = list(rules.warnings(made(rules, places), None))
    if kind == "EndpointSlice" and places.get("addressType") == "FQDN":
        assert list(rules.warnings(made(rules, places), made(rules, places))) == [], "of what is there nobody is told"
    assert [text for text in said if text not in rules.warnings(made(rules, {}), None)] == warned


def format_told(name: str) -> str:
    return f'unrecognized format "{name}"'


def set_told(kind: str) -> str:
    return f'x-kubernetes-list-type: set for items of type "{kind}" is not supported by server-side apply or CEL validation rules'


SET_OF_OBJECTS = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}
SET_OF_LISTS = {
    "type": "array",
    "x-kubernetes-list-type": "set",
    "items": {"type": "array", "items": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("part", "warned"),
    [
        ({"type": "string", "format": "date-time"}, []),
        ({"type": "string", "format": "k8s-long-name"}, []),
        ({"type": "string", "format": "poem"}, [format_told("poem")]),
        ({"type": "integer", "format": "int64"}, []),
        ({"type": "integer", "format": "uint8"}, [format_told("uint8")]),
        ({"type": "number", "format": "double"}, []),
        ({"type": "number", "format": "int32"}, [format_told("int32")]),
        ({"type": "boolean", "format": "byte"}, [format_told("byte")]),
        ({"type": "array", "items": {"type": "string", "format": "poem"}}, [format_told("poem")]),
        ({"type": "object", "additionalProperties": {"type": "string", "format": "poem"}}, [format_told("poem")]),
        ({"type": "string", "anyOf": [{"format": "poem"}, {"format": "uri"}]}, [format_told("poem")]),
        (SET_OF_OBJECTS, [set_told("object")]),
        ({"type": "object", "properties": {"a": SET_OF_OBJECTS, "b": SET_OF_LISTS}}, [set_told("array"), set_told("object")]),
        ({**SET_OF_OBJECTS, "items": {"type": "string"}}, []),
        ({**SET_OF_OBJECTS, "x-kubernetes-list-type": "atomic"}, []),
    ],
)  # fmt: skip
def test_a_definition_is_told_of_formats_and_sets_that_nobody_understands(part: Any, warned: list[str]) -> None:
    rules = next(one for one in RESOURCES if one.kind.kind == "CustomResourceDefinition")
    schema = {"type": "object", "properties": {"odd": part}}
    found = made(rules, {"spec.versions.0.schema.openAPIV3Schema": schema})
    plain = made(rules, {"spec.versions.0.schema.openAPIV3Schema": {"type": "object"}})
    assert list(rules.warnings(found, None)) == warned
    assert list(rules.warnings(found, plain)) == warned
    assert list(rules.warnings(found, found)) == [], "of what is there nobody is told"


def test_a_crowd_of_formats_is_looked_at_once_each() -> None:
    rules = next(one for one in RESOURCES if one.kind.kind == "CustomResourceDefinition")

    def crowd(name: str) -> Any:
        parts = {f"p{number}": {"type": "string", "format": f"{name}{number}"} for number in range(20_000)}
        return made(rules, {"spec.versions.0.schema.openAPIV3Schema": {"type": "object", "properties": parts}})

    new, old = crowd("a"), crowd("b")
    begun = time.process_time()
    assert len(list(rules.warnings(new, old))) == 20_000
    assert time.process_time() - begun < 5  # each against each took a minute


def test_who_writes_the_status_of_a_service_is_told_of_the_status_alone() -> None:
    rules = next(one for one in RESOURCES if one.kind.kind == "Service")
    status = next(one for one in rules.subresources if one.name == "status")
    service = made(rules, {"spec.externalIPs": [MAPPED], "status.loadBalancer": {"ingress": [{}, {"ip": MAPPED}]}})
    assert list(status.warnings(service, service)) == [f"status.loadBalancer.ingress[1]: {IS_MAPPED}"]


# --- pairs of a certificate and a key ---------------------------------------------------------------------------------

FIRST, SECOND = create_ca("one", 1.7e9), create_ca("two", 1.7e9)
RSA_KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
SKIPPED = "input after skipping PEM blocks of the following types"


@pytest.mark.parametrize(
    ("certificate", "key", "warned"),
    [
        (FIRST.certificate, FIRST.key, []),
        (b"words before\n" + FIRST.certificate, b"\n" + FIRST.key, []),
        (FIRST.key.replace(b"PRIVATE KEY", b"OTHER") + FIRST.certificate, FIRST.key, []),
        (FIRST.certificate, SECOND.key, ["tls: private key does not match public key"]),
        (FIRST.certificate, RSA_KEY, ["tls: failed to parse private key"]),
        (RSA_KEY.replace(b"PRIVATE KEY", b"CERTIFICATE"), FIRST.key, ["x509: malformed certificate"]),
        (b"", b"", ["tls: failed to find any PEM data in certificate input"]),
        (FIRST.certificate.replace(b"\n", b"\r\n"), b"words\n" + FIRST.key, []),
        (b"x" + FIRST.certificate, FIRST.key, ["tls: failed to find any PEM data in certificate input"]),
        (b"-----BEGIN A-----\n" * MARKS_MAX + FIRST.certificate, FIRST.key, ["tls: failed to find any PEM data in certificate input"]),
        (FIRST.certificate, b"x", ["tls: failed to find any PEM data in key input"]),
        (FIRST.key, FIRST.certificate, ["tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"]),
        (FIRST.certificate, FIRST.certificate, ["tls: found a certificate rather than a key in the PEM for the private key"]),
        (FIRST.certificate.replace(b"CERTIFICATE", b"THING"), FIRST.key, [f'tls: failed to find "CERTIFICATE" PEM block in certificate {SKIPPED}: [THING]']),
        (FIRST.certificate, FIRST.key.replace(b"PRIVATE KEY", b"THING"), [f'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key {SKIPPED}: [THING]']),
    ],
)  # fmt: skip
def test_a_pair_that_is_none_is_told(certificate: bytes, key: bytes, warned: list[str]) -> None:
    rules = next(one for one in RESOURCES if one.kind.kind == "Secret")
    pair = Pair(certificate, key)
    data = {"tls.crt": base64.b64encode(pair.certificate).decode(), "tls.key": base64.b64encode(pair.key).decode()}
    secret = made(rules, {"type": "kubernetes.io/tls", "data": data, "stringData": None})
    assert list(rules.warnings(secret, None)) == warned
    other = made(rules, {"type": "example.com/tls", "data": data, "stringData": None})
    assert list(rules.warnings(other, None)) == []


# --- pods -------------------------------------------------------------------------------------------------------------


def pod(spec: dict[str, Any]) -> Pod:
    return PODS.default(decode(Pod, encode({"metadata": {"name": "p"}, "spec": spec})))


def items(*paths: str) -> list[dict[str, str]]:
    return [{"key": "k", "path": path} for path in paths]


VOLUMES: list[tuple[dict[str, Any], list[str]]] = [
    ({"configMap": {"name": "m", "items": items("a", "b", "a-b", "ab")}}, []),
    ({"configMap": {"name": "m", "items": items("a/b", "c", "a", "a")}}, [
        '(ConfigMap "m"): overlapping paths: "a" with "a/b"',
        '(ConfigMap "m"): overlapping paths: "a" with "a/b"',
        '(ConfigMap "m"): overlapping paths: "a" with "a"',
    ]),
    ({"secret": {"secretName": "s", "items": items("x/", "x/y")}}, ['(Secret "s"): overlapping paths: "x/y" with "x"']),
    ({"projected": {"sources": []}}, []),
    ({"projected": {"sources": [{}]}}, ["(Projected) has no sources provided"]),
    ({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s", "items": items("t/u")}}]}}, [
        '(Projected): overlapping paths: "t/u" (Secret "s") with "t" (ServiceAccountToken)',
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("volume", "warned"), VOLUMES)
def test_files_that_overlap_are_told(volume: dict[str, Any], warned: list[str]) -> None:
    found = pod({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", **volume}]})
    assert list(PODS.warnings(found, None)) == [f'volume "v" {text}' for text in warned]


def port(number: int, host_port: int = 0, host_ip: str = "", name: str = "") -> dict[str, Any]:
    return {"containerPort": number, "hostPort": host_port, "hostIP": host_ip, "name": name}


PORTS: list[tuple[list[dict[str, Any]], list[tuple[int, str, int]]]] = [
    ([port(1), port(2)], []),
    ([port(1, 5, "10.0.0.1"), port(1, 5, "10.0.0.2"), port(1, 6)], []),
    ([port(1, 5), port(1), port(1, 5, "10.0.0.1")], [(1, "overlapping", 0), (2, "dangerously ambiguous", 0), (2, "overlapping", 1)]),
    ([port(1), port(1, 5), port(1)], [(1, "overlapping", 0), (2, "duplicate", 0), (2, "overlapping", 1)]),
    ([port(1, 5, "10.0.0.1"), port(1, 5, "10.0.0.1"), port(1, 5)], [(1, "duplicate", 0), (2, "dangerously ambiguous", 0), (2, "dangerously ambiguous", 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("ports", "clashes"), PORTS)
def test_ports_that_clash_are_told(ports: list[dict[str, Any]], clashes: list[tuple[int, str, int]]) -> None:
    at = "spec.containers[0].ports"
    found = pod({"containers": [{"name": "c", "image": "i", "ports": ports}]})
    assert list(PODS.warnings(found, None)) == [
        f"{at}[{mine}]: {what} port definition with {at}[{other}]" for mine, what, other in clashes
    ]


def test_one_name_for_two_ports_is_told() -> None:
    ports = [port(1, name="a"), port(2, name="a"), port(3), port(4)]
    found = pod({"containers": [{"name": "c", "image": "i", "ports": ports}]})
    at = "spec.containers[0].ports"
    assert list(PODS.warnings(found, None)) == [
        f'{at}[1]: duplicate port name "a" with {at}[0], services and probes that select ports by name will use {at}[0]'
    ]


def test_addresses_of_pods_are_told() -> None:
    found = pod(
        {
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostIP": "10.0.0.1"}]}],
            "dnsConfig": {"nameservers": [MAPPED]},
            "hostAliases": [{"ip": MAPPED}],
        }
    )
    assert list(PODS.warnings(found, None)) == [
        "spec.containers[0].ports[0]: hostIP set without hostPort: "
        "{Name: HostPort:0 ContainerPort:1 Protocol:TCP HostIP:10.0.0.1}",
        f"spec.dnsConfig.nameservers[0]: {IS_MAPPED}",
        f"spec.hostAliases[0].ip: {IS_MAPPED}",
    ]


def test_values_that_no_label_has_are_told_of_liked_terms() -> None:
    term = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c d"]}]}
    liked = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}
    found = pod({"containers": [{"name": "c", "image": "i"}], "affinity": {"nodeAffinity": liked}})
    (said,) = PODS.warnings(found, None)
    at = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
    assert said.startswith(f"{at}.matchExpressions[0].values[1]: c d is invalid, a valid label must be")


# --- as many as a body holds ------------------------------------------------------------------------------------------

MANY = 30_000
SECONDS_MAX = 5.0
CROWDS: list[dict[str, Any]] = [
    {"ports": [port(1, 1 + number % 65535) for number in range(MANY)]},
    {"ports": [port(1, 5, f"10.0.{number // 256}.{number % 256}") for number in range(MANY)]},
    {"ports": [port(1 + number % 65535, name="a") for number in range(MANY)]},
]


@pytest.mark.parametrize("container", CROWDS)
def test_many_ports_are_not_compared_with_each_other(container: dict[str, Any]) -> None:
    found = pod({"containers": [{"name": "c", "image": "i", **container}]})
    started = time.process_time()
    list(PODS.warnings(found, None))
    assert time.process_time() - started < SECONDS_MAX


@pytest.mark.parametrize("paths", [[f"{number}" for number in range(MANY)], ["a"] * MANY, ["a/" * MANY]])
def test_many_files_are_not_compared_with_each_other(paths: list[str]) -> None:
    volume = {"name": "v", "configMap": {"name": "m", "items": items(*paths)}}
    found = pod({"containers": [{"name": "c", "image": "i"}], "volumes": [volume]})
    started = time.process_time()
    list(PODS.warnings(found, None))
    assert time.process_time() - started < SECONDS_MAX
