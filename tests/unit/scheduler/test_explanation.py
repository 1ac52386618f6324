"""Why a pod waits, what would help, and why it is where it is."""

from typing import Any

import pytest
from known_objects import node
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod, PodCondition
from kybern.cmd.why import subject, text_of
from kybern.scheduler.explanation import explained
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.snapshot import Snapshot


def pod(cpu: str = "1", name: str = "p", **spec: Any) -> Pod:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}, "ports": spec.pop("ports", [])}
    metadata = {"name": name, "namespace": "a", "uid": name}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


def cluster(*nodes: Node) -> Snapshot:
    snapshot = Snapshot()
    for one in nodes or (node("n1"), node("n2")):
        snapshot.set_node(one)
    return snapshot


def tainted(name: str, **spec: Any) -> Node:
    base = {"metadata": {"name": name}, "status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"}}}
    return from_builtins(Node, {**base, "spec": spec})


def test_the_node_that_lacks_least_is_named_with_what_it_lacks() -> None:
    snapshot = cluster()
    snapshot.add_pod(pod("4", "big"), "n1")
    snapshot.add_pod(pod("2500m", "other"), "n2")
    found = explained(pod("6"), snapshot, DEFAULT_PROFILE)
    assert found.cause == "0/2 nodes are available: 2 Insufficient cpu."
    assert found.change.startswith("500m more cpu (asks for 6, 5500m of 8 free) on n2")
    assert found.header == ("NODE", "NodeResourcesFit")
    assert found.rows == (("n1", "Insufficient cpu"), ("n2", "Insufficient cpu"))


def test_one_change_is_less_than_two_and_each_rule_has_its_words() -> None:
    taints = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    snapshot = cluster(tainted("n1", taints=taints, unschedulable=True), tainted("n2", taints=taints))
    found = explained(pod(), snapshot, DEFAULT_PROFILE)
    assert found.change == "a toleration for gpu=yes:NoSchedule (n2)"
    assert found.rows[0][0] == "n2" and found.rows[0][1] == "ok"
    snapshot = cluster(tainted("n1", unschedulable=True))
    assert explained(pod(), snapshot, DEFAULT_PROFILE).change == "kubectl uncordon n1"
    found = explained(pod(nodeSelector={"disk": "ssd"}), cluster(), DEFAULT_PROFILE)
    assert found.change == "kubectl label node n1 disk=ssd"
    port = [{"containerPort": 80, "hostPort": 80}]
    snapshot = cluster(node("n1"))
    snapshot.add_pod(pod(name="a", ports=port), "n1")
    assert "another hostPort" in explained(pod(ports=port), snapshot, DEFAULT_PROFILE).change
    both = explained(pod("9", nodeSelector={"disk": "ssd"}), cluster(), DEFAULT_PROFILE).change
    assert "kubectl label node n1 disk=ssd; and 1 more cpu" in both


def test_gates_missing_nodes_and_pods_that_fit_are_said() -> None:
    gated = explained(pod(schedulingGates=[{"name": "quota"}]), cluster(), DEFAULT_PROFILE)
    assert gated.cause == "waiting for scheduling gates: quota"
    assert gated.change == "whoever looks after quota removes it from spec.schedulingGates"
    assert explained(pod(), Snapshot(), DEFAULT_PROFILE).change == "add a node"
    assert explained(pod(), cluster(), DEFAULT_PROFILE).cause == "it fits on n1 now"


def test_a_placed_pod_s_nodes_are_listed_with_their_scores() -> None:
    snapshot = cluster()
    snapshot.add_pod(pod("4", "big"), "n1")
    mine = pod("1", "mine", nodeName="n2")
    snapshot.add_pod(mine, "n2")
    found = explained(mine, snapshot, DEFAULT_PROFILE)
    assert found.cause == "it runs on n2, which is number 1 of the 2 nodes where it fits now"
    assert found.header[:2] == ("NODE", "TOTAL") and "NodeResourcesFit" in found.header
    assert int(found.rows[0][1]) > int(found.rows[1][1])
    assert sum(map(int, found.rows[0][2:])) == int(found.rows[0][1])
    assert list(text_of(found))[2].startswith("NODE")


@pytest.mark.parametrize(("text", "name"), [("pod/web", "web"), ("web", "web"), ("po/web", "web"), ("pods/web", "web")])
def test_pods_are_named_as_kubectl_names_them(text: str, name: str) -> None:
    assert subject(text) == ("pod", name)


HOST = "kubernetes.io/hostname"


def term(**labels: str) -> dict[str, Any]:
    terms = [{"labelSelector": {"matchLabels": labels}, "topologyKey": HOST}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": terms}


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        ({"affinity": {"podAffinity": term(app="db")}},
         f"a pod that its podAffinity asks for (app=db by {HOST}) near n1"),
        ({"affinity": {"podAntiAffinity": term(app="there")}},
         f"that the pods which its podAntiAffinity avoids (app=there by {HOST}) leave n1, or one node more"),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]},
         "kubectl label node n1 rack=VALUE"),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}}},
         "labels on n1 as its nodeAffinity wants them (disk In ['ssd'])"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]},
         'create persistentvolumeclaim "data" in namespace a'),
        ({"resourceClaims": [{"name": "g", "resourceClaimName": "gpu"}]},
         'create resourceclaim "gpu" in namespace a'),
    ],
)  # fmt: skip
def test_each_cause_has_a_change_that_says_what_to_do(spec: dict[str, Any], change: str) -> None:
    one = node("n1")
    snapshot = cluster(replace(one, metadata=replace(one.metadata, labels={HOST: "n1"})))
    there = pod(name="there")
    snapshot.add_pod(replace(there, metadata=replace(there.metadata, labels={"app": "there"})), "n1")
    assert explained(pod(**spec), snapshot, DEFAULT_PROFILE).change == change


def test_uncordoning_is_enough_for_the_taint_that_goes_with_it() -> None:
    taints = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    snapshot = cluster(tainted("n1", unschedulable=True, taints=taints))
    assert explained(pod(), snapshot, DEFAULT_PROFILE).change == "kubectl uncordon n1"


def test_a_pod_that_has_ended_and_one_that_was_promised_room_are_said() -> None:
    ended = pod(nodeName="n1")
    ended = replace(ended, status=replace(ended.status, phase="Succeeded"))
    assert explained(ended, cluster(), DEFAULT_PROFILE).cause == "it has ended (Succeeded) on n1"
    waits = pod("9")
    waits = replace(waits, status=replace(waits.status, nominated_node_name="n2"))
    assert explained(waits, cluster(), DEFAULT_PROFILE).cause.startswith("it is promised room on n2, once those that")


def test_a_pod_that_fits_and_waits_has_the_scheduler_s_last_word() -> None:
    def told(reason: str) -> Pod:
        waits = pod()
        last = PodCondition(type="PodScheduled", status="False", reason=reason, message="the extender hung")
        return replace(waits, status=replace(waits.status, conditions=(last,)))

    failed = explained(told("SchedulerError"), cluster(), DEFAULT_PROFILE)
    assert failed.cause == "the extender hung" and "it fits on n1" in failed.change
    refused = explained(told("Unschedulable"), cluster(), DEFAULT_PROFILE)
    assert refused.cause == "it fits on n1 now" and refused.change.endswith("since it said: the extender hung")


def test_a_paused_pod_says_what_it_needs_to_go_on() -> None:
    snapshot = cluster(node("n1"))
    paused = pod("2", "batch", nodeName="n1")
    paused = replace(paused, metadata=replace(paused.metadata, annotations={"kybern.io/paused": "true"}))
    snapshot.add_pod(paused, "n1")
    snapshot.add_pod(pod("7", "urgent"), "n1")
    found = explained(paused, snapshot, DEFAULT_PROFILE)
    assert found.cause == "it is paused on n1: more important pods have its processors"
    assert found.change == "1 more cpu on n1 (asks for 2, 1 of 8 free)"
    snapshot.remove_pod("urgent")
    assert explained(paused, snapshot, DEFAULT_PROFILE).change.startswith("none: its processors are free")
