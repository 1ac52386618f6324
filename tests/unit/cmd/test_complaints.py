"""What `kybern status` says of a network that is not well, from values."""

from pathlib import Path
from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Node, Pod, Service
from kybern.cmd.complaints import failing, full_ranges, without_sandbox, without_sctp
from kybern.cmd.config import Cluster, new


def cluster(tmp_path: Path) -> Cluster:
    return new(tmp_path, index=0)


def service(name: str, ip: str = "", balanced: str = "", protocol: str = "TCP") -> Service:
    spec = {"clusterIPs": [ip] if ip else ["None"], "ports": [{"port": 80, "protocol": protocol}]}
    status = {"loadBalancer": {"ingress": [{"ip": balanced}]}} if balanced else {}
    return from_builtins(Service, {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": status})


def node(name: str, *cidrs: str, ready: str = "True", message: str = "") -> Node:
    conditions = [{"type": "Ready", "status": ready, "message": message}]
    return from_builtins(
        Node, {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}, "status": {"conditions": conditions}}
    )


def pod(ip: str, phase: str = "Running") -> Pod:
    return from_builtins(Pod, {"metadata": {"name": ip}, "status": {"phase": phase, "podIPs": [{"ip": ip}]}})


def test_a_cluster_with_room_has_nothing_to_complain_of(tmp_path: Path) -> None:
    found = full_ranges(
        cluster(tmp_path), [service("a", "10.96.0.7")], [node("n", "10.244.0.0/24")], [pod("10.244.0.2")]
    )
    assert list(found) == []


def test_ranges_that_are_used_up_are_named_with_how_many(tmp_path: Path) -> None:
    full = [service(str(i), balanced=f"10.106.1.{i}") for i in range(1, 255)]
    pods = [pod(f"10.244.0.{i}") for i in range(2, 255)]
    assert list(full_ranges(cluster(tmp_path), full, [node("n", "10.244.0.0/24")], pods)) == [
        "the addresses of load balancers are used up: 254 of 10.106.1.0/24",
        "the pod addresses of node n are used up: 253 of 10.244.0.0/24",
    ]


def test_each_familys_part_is_counted_and_finished_pods_hold_none(tmp_path: Path) -> None:
    nodes = [node("n", "10.244.0.0/29", "fd00::/125"), node("m", "10.244.0.8/29")]
    pods = [pod(f"10.244.0.{i}", "Succeeded") for i in range(2, 7)] + [pod(f"fd00::{i}") for i in range(2, 7)]
    assert list(full_ranges(cluster(tmp_path), [], nodes, pods)) == [
        "the pod addresses of node n are used up: 5 of fd00::/125"
    ]


def test_a_node_without_its_part_of_the_pod_network_is_named(tmp_path: Path) -> None:
    [said] = full_ranges(cluster(tmp_path), [], [node("n")], [])
    assert said.startswith("node n has no part of the pod network")


def test_a_node_that_is_not_ready_says_what_its_network_plugin_said() -> None:
    message = 'plugin type="bridge" failed: no such file'
    assert list(failing([node("n", ready="False", message=message), node("m")])) == [f"node n is not Ready: {message}"]


def test_a_service_of_a_protocol_that_the_kernel_has_not_is_named() -> None:
    services = [service("a", protocol="SCTP"), service("b")]
    assert list(without_sctp(services, kernel_has_it=True)) == []
    assert list(without_sctp(services, kernel_has_it=False)) == [
        "service d/a wants SCTP, which the kernel of this machine has not"
    ]


def failure(uid: str, message: str, at: str) -> Event:
    return from_builtins(Event, {"involvedObject": {"uid": uid}, "message": message, "lastTimestamp": at})


def waiting(uid: str, phase: str = "Pending", **status: Any) -> Pod:
    meta = {"name": uid, "namespace": "d", "uid": uid}
    return from_builtins(Pod, {"metadata": meta, "spec": {"nodeName": "n"}, "status": {"phase": phase, **status}})


def test_a_pod_that_the_network_fails_for_is_named_with_what_was_said_last_until_it_has_an_address() -> None:
    failures = [
        failure("a", "ADD did not end in 120 s", "2026-01-01T00:00:09Z"), failure("a", "no IP addresses", "2026-01-01T00:00:01Z"),
        failure("b", "over", "2026-01-01T00:00:01Z"), failure("c", "over", "2026-01-01T00:00:01Z"), failure("gone", "x", "2026-01-01T00:00:01Z"),
    ]  # fmt: skip
    pods = [waiting("a"), waiting("b", podIPs=[{"ip": "10.0.0.2"}]), waiting("c", "Failed"), waiting("d")]
    assert list(without_sandbox(pods, failures)) == ["pod d/a waits on node n: ADD did not end in 120 s"]


def test_of_a_thousand_such_pods_ten_are_named_and_all_are_counted() -> None:
    names = [f"p{number}" for number in range(1000)]
    failures = [failure(name, "no IP addresses", "2026-01-01T00:00:01Z") for name in names]
    told = list(without_sandbox(map(waiting, names), failures))
    assert told[:10] == [f"pod d/{name} waits on node n: no IP addresses" for name in names[:10]]
    assert told[10:] == [
        "1000 pods wait like this: kubectl get events -A --field-selector reason=FailedCreatePodSandBox"
    ]
