"""Objects for tests, with as little said as the test is about."""

from collections.abc import Mapping
from typing import Any

from kybern.api.apps_v1 import ReplicaSet, ReplicaSetSpec
from kybern.api.core_v1 import Container, Node, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec
from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.reconcile import controller_ref

APP = {"app": "web"}


def template(image: str = "web:1", labels: Mapping[str, str] = APP) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=(Container(name="web", image=image),))
    )


def pod(
    name: str,
    *,
    namespace: str = "default",
    node: str = "",
    phase: str = "Pending",
    ready: bool = False,
    ready_since: str = "2026-01-01T00:00:00Z",
    owner: Any = None,
    labels: Mapping[str, str] = APP,
    ip: str = "",
    **meta: Any,
) -> Pod:
    """Ready means Running as well."""
    given: dict[str, Any] = {"uid": f"uid-{name}", "creation_timestamp": "2026-01-01T00:00:00Z"}
    given |= {"owner_references": (controller_ref(owner),)} if owner is not None else {}
    condition = PodCondition(type="Ready", status="True", last_transition_time=ready_since)
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=labels, **given | meta),
        spec=PodSpec(node_name=node or None, containers=(Container(name="web", image="web:1"),)),
        status=PodStatus(
            phase="Running" if ready else phase, conditions=(condition,) if ready else None, pod_ip=ip or None
        ),
    )


def replicaset(name: str, replicas: int, *, namespace: str = "default", **meta: Any) -> ReplicaSet:
    return ReplicaSet(
        metadata=ObjectMeta(name=name, namespace=namespace, **{"uid": f"uid-{name}"} | meta),
        spec=ReplicaSetSpec(replicas=replicas, selector=LabelSelector(match_labels=APP), template=template()),
    )


def node(name: str, **meta: Any) -> Node:
    return Node(metadata=ObjectMeta(name=name, **{"uid": f"uid-{name}"} | meta))
