import json
from typing import Any

import pytest

from kybern.api.codec import encode, from_builtins
from kybern.api.core_v1 import Service
from kybern.registry.services import SERVICES

PORT = {"port": 80}


def service(**spec: Any) -> Service:
    spec.setdefault("ports", [PORT])
    return SERVICES.default(from_builtins(Service, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))


def plain(obj: Any) -> Any:
    return json.loads(encode(obj))


def wrong(**spec: Any) -> list[str]:
    return [str(error) for error in SERVICES.validate(SERVICES.on_create(service(**spec)))]


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        (
            {},
            {
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP",
                "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            },
        ),
        ({"ports": [{"port": 80, "targetPort": "http"}]}, {"ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}]}),
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}),
        ({"type": "LoadBalancer"}, {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True}),
        (
            {"sessionAffinity": "ClientIP"},
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
        ),
    ],
)  # fmt: skip
def test_a_service_is_made_whole(spec: dict[str, Any], made: dict[str, Any]) -> None:
    found = plain(service(**spec).spec)
    assert {key: found[key] for key in made} == made


def test_an_external_name_has_no_traffic_policy() -> None:
    found = plain(service(type="ExternalName", externalName="a.io", ports=[]).spec)
    assert "internalTrafficPolicy" not in found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        (
            {"ports": [{"port": 0, "targetPort": 1}]},
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"port": 80, "protocol": "X"}]},
            'spec.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"',
        ),
        ({"ports": [PORT, {"port": 81, "name": "b"}]}, "spec.ports[0].name: Required value"),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
            'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}',
        ),
        (
            {"ports": [{"port": 80, "nodePort": 30080}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            {"type": "Magic"},
            'spec.type: Unsupported value: "Magic": '
            'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        ),
        ({"type": "ExternalName", "ports": []}, "spec.externalName: Required value"),
        (
            {"type": "NodePort", "clusterIP": "None"},
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: "
            "must be greater than 0 and less than 86400",
        ),
        (
            {"externalTrafficPolicy": "Local"},
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
        ),
        (
            {"loadBalancerClass": "a/b"},
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
    ],
)
def test_a_bad_service_is_refused_in_upstreams_words(spec: dict[str, Any], message: str) -> None:
    assert wrong(**spec) == [message]


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "ports": []},
        {"type": "ExternalName", "externalName": "db.example.com.", "ports": []},
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        {"externalIPs": ["192.0.2.1"]},
    ],
)
def test_what_upstream_accepts_is_accepted(spec: dict[str, Any]) -> None:
    assert wrong(**spec) == []


# --- updates ----------------------------------------------------------------------------------------------------------

GIVEN: Any = {
    "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
}  # fmt: skip


def updated(new: Service, old: Service) -> dict[str, Any]:
    found: dict[str, Any] = plain(SERVICES.on_update(new, old).spec)
    return found


def test_an_update_that_leaves_out_the_address_keeps_it() -> None:
    found = updated(service(), service(**GIVEN))
    assert {key: found[key] for key in GIVEN} == GIVEN


def test_an_update_that_leaves_out_the_node_port_keeps_it() -> None:
    old = service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}], **GIVEN)
    assert updated(service(type="NodePort"), old)["ports"][0]["nodePort"] == 30080


def test_a_service_that_is_no_node_port_any_more_gives_its_port_back() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    old = service(type="NodePort", ports=ports, **GIVEN)
    found = updated(service(type="ClusterIP", ports=ports), old)
    assert "nodePort" not in found["ports"][0]


def test_a_service_that_becomes_a_name_gives_its_address_back() -> None:
    found = updated(service(type="ExternalName", externalName="a.io", **GIVEN), service(**GIVEN))
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & found.keys()


@pytest.mark.parametrize("type_", ["ClusterIP", "ExternalName"])
def test_a_balanced_service_of_another_type_forgets_what_only_balancing_needed(type_: str) -> None:
    balanced = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000, "loadBalancerClass": "a/b"}
    old = service(type="LoadBalancer", ports=[{"port": 80, "nodePort": 30080}], **balanced, **GIVEN)
    back = {**plain(old.spec), "type": type_, "externalName": "a.io"}
    new = SERVICES.on_update(service(**back), old)
    assert SERVICES.validate_update is not None
    assert list(SERVICES.validate_update(new, old)) == []
    assert not {*balanced, "allocateLoadBalancerNodePorts"} & plain(new.spec).keys()


def test_an_address_never_changes() -> None:
    old = service(**GIVEN)
    new = SERVICES.on_update(service(clusterIP="10.96.0.6"), old)
    assert SERVICES.validate_update is not None
    assert [str(error) for error in SERVICES.validate_update(new, old)] == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set'
    ]


def test_a_single_address_is_also_a_list_of_one() -> None:
    assert SERVICES.on_create(service(clusterIP="10.96.0.9")).spec.cluster_ips == ("10.96.0.9",)


def test_a_put_of_a_new_name_creates_a_service() -> None:
    assert SERVICES.create_on_update
