"""Warnings of pods and of what makes pods, in upstream's words."""

from typing import Any

import pytest

from kybern.api.apps_v1 import Deployment
from kybern.api.codec import decode, encode
from kybern.api.core_v1 import Pod
from kybern.registry.deployments import DEPLOYMENTS
from kybern.registry.pods import PODS

CONTAINER = {"name": "c", "image": "i"}
TERM = {"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}
OS = 'deprecated since v1.14; use "kubernetes.io/os" instead'
NONE = "a null labelSelector results in matching no pod"

CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}, [f"spec.nodeSelector[beta.kubernetes.io/os]: {OS}"]),
    (
        {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": TERM}]}}},
        [
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: "
            f"beta.kubernetes.io/os is {OS}"
        ],
    ),
    (
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z"}]}}},
        [f"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: {NONE}"],
    ),
    (
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
        [f"spec.topologySpreadConstraints[0].labelSelector: {NONE}"],
    ),
    ({"volumes": [{"name": "v", "gitRepo": {"repository": "r"}}]}, ["spec.volumes[0].gitRepo: deprecated in v1.11"]),
    (
        {"volumes": [{"name": "v", "rbd": {"image": "i", "monitors": ["m"]}}]},
        ["spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"],
    ),
    ({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}, ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"']),
    ({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}, ['spec.imagePullSecrets[1].name: duplicate name "a"']),
    ({"imagePullSecrets": [{"name": ""}]}, ['spec.imagePullSecrets[0].name: invalid empty name ""']),
    ({"overhead": {"memory": "100m"}}, ['spec.overhead[memory]: fractional byte value "100m" is invalid, must be an integer']),
    (
        {"terminationGracePeriodSeconds": -1},
        ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
    ),
]  # fmt: skip
OF_CONTAINERS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"resources": {"limits": {"memory": "1500m"}, "requests": {"ephemeral-storage": "2"}}},
        ['spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer'],
    ),
    (
        {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
    ),
    ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}, []),
    (
        {"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]},
        ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
    ),
    (
        {"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]},
        ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"],
    ),
    (
        {"ports": [{"containerPort": 80, "hostPort": 8, "hostIP": "1.1.1.1"}, {"containerPort": 80, "hostPort": 8}]},
        ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"],
    ),
    ({"ports": [{"containerPort": 80, "hostPort": 8}, {"containerPort": 80, "hostPort": 9}]}, []),
]


def pod(spec: dict[str, Any], **meta: Any) -> Pod:
    return decode(Pod, encode({"metadata": {"name": "p", **meta}, "spec": {"containers": [CONTAINER], **spec}}))


@pytest.mark.parametrize(
    ("spec", "warned"), [*CASES, *(({"containers": [{**CONTAINER, **c}]}, w) for c, w in OF_CONTAINERS)]
)
def test_what_is_odd_is_said_when_a_pod_is_made(spec: dict[str, Any], warned: list[str]) -> None:
    made = pod(spec)
    assert list(PODS.warnings(made, None)) == warned
    assert list(PODS.warnings(made, made)) == []


def test_annotations_that_became_fields_are_told() -> None:
    old = {"seccomp.security.alpha.kubernetes.io/pod": "x", "container.seccomp.security.alpha.kubernetes.io/c": "x"}
    use = 'non-functional in v1.27+; use the "seccompProfile" field instead'
    assert list(PODS.warnings(pod({}, annotations=old), None)) == [f"metadata.annotations[{key}]: {use}" for key in old]
    with_field = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    assert len(list(PODS.warnings(pod(with_field, annotations=old), None))) == 1


def test_a_name_with_dots_is_no_good_hostname() -> None:
    assert list(PODS.warnings(pod({}, name="a.b"), None)) == [
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
        "a DNS label is recommended: [must not contain dots]"
    ]


def deployment(generation: int, spec: dict[str, Any]) -> Deployment:
    template = {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "x"}}, "spec": spec}
    return decode(
        Deployment, encode({"metadata": {"name": "d", "generation": generation}, "spec": {"template": template}})
    )


def test_a_workload_is_warned_of_its_template_when_its_spec_changes() -> None:
    spec = {"containers": [CONTAINER], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}
    warned = [
        f"spec.template.spec.nodeSelector[beta.kubernetes.io/os]: {OS}",
        "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: "
        'deprecated since v1.30; use the "appArmorProfile" field instead',
    ]
    first, same, next_ = deployment(1, spec), deployment(1, spec), deployment(2, spec)
    assert list(DEPLOYMENTS.warnings(first, None)) == warned
    assert list(DEPLOYMENTS.warnings(same, first)) == []
    assert list(DEPLOYMENTS.warnings(next_, first)) == warned
