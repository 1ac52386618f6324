import json
from typing import Any

import pytest

from kybern.api.codec import decode, encode, from_builtins
from kybern.api.core_v1 import Binding, Pod
from kybern.api.errors import Conflict, Invalid
from kybern.registry.pod_fields import POD_FIELDS, PodPart
from kybern.registry.pods import PODS, bind, grace_seconds
from kybern.registry.podspec.defaults import pull_policy
from kybern.registry.podspec.qos import qos_class

SUBRESOURCES = {sub.name: sub for sub in PODS.subresources}


def plain(obj: Any) -> Any:
    return json.loads(encode(obj))


C = {"name": "c", "image": "i:1"}


def pod(status: Any = None, metadata: Any = None, **spec: Any) -> Pod:
    spec.setdefault("containers", [C])
    meta = {"name": "web", "namespace": "default", "uid": "u1", **(metadata or {})}
    return PODS.default(from_builtins(Pod, {"metadata": meta, "spec": spec, "status": status or {}}))


# --- defaults ---------------------------------------------------------------------------------------------------------


def test_a_pod_is_made_whole() -> None:
    assert plain(pod().spec) == {
        "containers": [
            {
                "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": True, "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.25", "IfNotPresent"), ("r.io:5000/nginx", "Always"),
        ("r.io:5000/a/nginx:2", "IfNotPresent"), ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)  # fmt: skip
def test_only_a_tag_that_moves_is_always_pulled(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
        (
            {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}},
            {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}},
        ),
        (
            {"livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0}},
            {
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                }
            },
        ),
        (
            {"env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
            {"env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}]},
        ),
        (
            {"lifecycle": {"preStop": {"httpGet": {"port": "http"}}}},
            {"lifecycle": {"preStop": {"httpGet": {"port": "http", "path": "/", "scheme": "HTTP"}}}},
        ),
    ],
)  # fmt: skip
def test_a_container_is_made_whole(given: dict[str, Any], made: dict[str, Any]) -> None:
    found = plain(pod(containers=[{**C, **given}]).spec.containers[0])
    assert {key: found[key] for key in made} == made


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "s"}}, {"configMap": {"name": "s", "defaultMode": 420}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                }
            },
        ),
        (
            {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {
                "downwardAPI": {
                    "defaultMode": 420,
                    "items": [{"path": "l", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}],
                }
            },
        ),
        ({"image": {"reference": "i:1"}}, {"image": {"reference": "i:1", "pullPolicy": "IfNotPresent"}}),
    ],
)
def test_a_volume_is_made_whole(given: dict[str, Any], made: dict[str, Any]) -> None:
    (volume,) = pod(volumes=[{"name": "v", **given}]).spec.volumes or ()
    assert plain(volume) == {"name": "v", **made}


def test_the_old_and_the_new_name_of_the_service_account_agree() -> None:
    assert pod(serviceAccount="sa").spec.service_account_name == "sa"
    assert pod(serviceAccountName="sa").spec.service_account == "sa"


def test_a_container_in_the_hosts_network_has_the_hosts_ports() -> None:
    found = pod(hostNetwork=True, containers=[{**C, "ports": [{"containerPort": 80}]}])
    assert found.spec.containers[0].ports is not None
    assert found.spec.containers[0].ports[0].host_port == 80


def test_a_complete_pod_is_not_copied() -> None:
    once = pod()
    assert PODS.default(once) is once


# --- life -------------------------------------------------------------------------------------------------------------


def test_a_new_pod_is_pending_whatever_its_author_says() -> None:
    created = PODS.on_create(pod(status={"phase": "Running", "podIP": "1.2.3.4"}))
    assert plain(created.status) == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_gated_pod_says_so() -> None:
    created = PODS.on_create(pod(schedulingGates=[{"name": "a/b"}]))
    assert created.status.conditions is not None
    assert created.status.conditions[0].reason == "SchedulingGated"


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"nvidia.com/gpu": "1"}}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
    ],
)
def test_quality_of_service_follows_requests_and_limits(resources: list[Any], quality: str) -> None:
    found = pod(containers=[{**C, "name": f"c{n}", "resources": r} for n, r in enumerate(resources)])
    assert qos_class(found.spec) == quality


@pytest.mark.parametrize(
    ("spec", "status", "asked", "seconds"),
    [
        ({}, {}, None, 0),
        ({"nodeName": "n1"}, {}, None, 30),
        ({"nodeName": "n1", "terminationGracePeriodSeconds": 5}, {}, None, 5),
        ({"nodeName": "n1"}, {}, 7, 7),
        ({"nodeName": "n1"}, {}, 0, 0),
        ({"nodeName": "n1"}, {}, -1, 1),
        ({"nodeName": "n1"}, {"phase": "Succeeded"}, None, 0),
        ({"nodeName": "n1"}, {"phase": "Failed"}, 60, 0),
    ],
)
def test_only_a_pod_that_a_node_runs_gets_time_to_end(
    spec: dict[str, Any], status: dict[str, Any], asked: int | None, seconds: int
) -> None:
    assert grace_seconds(pod(status=status, **spec), asked) == seconds


# --- binding ----------------------------------------------------------------------------------------------------------


def binding(target: Any = None, **metadata: Any) -> Binding:
    meta = {"name": "web", **metadata}
    return from_builtins(Binding, {"metadata": meta, "target": target or {"kind": "Node", "name": "n1"}})


def test_a_bound_pod_has_its_node_and_is_scheduled() -> None:
    bound = bind(
        pod(metadata={"annotations": {"a": "1"}}),
        binding(annotations={"b": "2"}, creationTimestamp="2026-01-01T00:00:00Z"),
    )
    assert bound.spec.node_name == "n1"
    assert bound.metadata.annotations == {"a": "1", "b": "2"}
    assert plain(bound.status)["conditions"] == [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ]


@pytest.mark.parametrize(
    ("spec", "metadata", "why"),
    [
        ({"nodeName": "n2"}, {}, 'pod web is already assigned to node "n2"'),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "pod web is being deleted, cannot be assigned to a host"),
        ({"schedulingGates": [{"name": "g"}]}, {}, "pod web has non-empty .spec.schedulingGates"),
    ],
)
def test_a_pod_is_bound_once_and_only_while_it_waits(spec: Any, metadata: Any, why: str) -> None:
    with pytest.raises(Conflict) as raised:
        bind(pod(metadata=metadata, **spec), binding())
    assert raised.value.message == f'Operation cannot be fulfilled on pods/binding "web": {why}'


def test_a_binding_for_another_pod_of_the_same_name_conflicts() -> None:
    with pytest.raises(Conflict, match="UID in precondition: other, UID in object meta: u1"):
        bind(pod(), binding(uid="other"))


def test_a_binding_needs_a_node() -> None:
    with pytest.raises(Invalid, match=r"target\.name: Required value"):
        bind(pod(), binding({"kind": "Node", "name": ""}))


def test_binding_is_no_new_generation() -> None:
    assert PODS.generation is not None
    assert PODS.generation(bind(pod(), binding())) == PODS.generation(pod())


# --- changes ----------------------------------------------------------------------------------------------------------


def change(old: Pod, new: Pod) -> list[str]:
    assert PODS.validate_update is not None
    return [str(error) for error in PODS.validate_update(new, old)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"containers": [{**C, "image": "i:2"}]}),
        ({}, {"activeDeadlineSeconds": 10}),
        ({"activeDeadlineSeconds": 10}, {"activeDeadlineSeconds": 5}),
        ({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}),
        ({"schedulingGates": [{"name": "a"}, {"name": "b"}]}, {"schedulingGates": [{"name": "a"}]}),
        ({"schedulingGates": [{"name": "a"}]}, {"schedulingGates": [{"name": "a"}], "nodeSelector": {"d": "ssd"}}),
    ],
)
def test_a_few_things_may_change_in_a_pod(before: Any, after: Any) -> None:
    assert change(pod(**before), pod(**after)) == []


LONG = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"hostname": "a"}, {"hostname": "b"}, LONG + '  core.PodSpec{\n- \thostname: "a",\n+ \thostname: "b",\n  }'),
        (
            {}, {"containers": [C, {**C, "name": "d"}]},
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            {"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 6},
            "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value",
        ),
        (
            {"activeDeadlineSeconds": 5}, {},
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists"}]}, {},
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            {"schedulingGates": [{"name": "a"}]}, {"schedulingGates": [{"name": "b"}]},
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'",
        ),
    ],
)  # fmt: skip
def test_everything_else_of_a_pod_stays(before: Any, after: Any, message: str) -> None:
    assert change(pod(**before), pod(**after)) == [message]


def test_an_update_leaves_the_status_alone() -> None:
    old = pod(status={"phase": "Running"})
    assert PODS.on_update(pod(status={"phase": "Failed"}), old).status == old.status


def test_a_status_write_leaves_the_spec_and_the_quality_of_service_alone() -> None:
    write = SUBRESOURCES["status"].write
    assert write is not None
    old = PODS.on_create(pod())
    found = write(old, pod(status={"phase": "Running", "qosClass": "Guaranteed"}, hostname="other"))
    assert (found.spec, found.status.phase, found.status.qos_class) == (old.spec, "Running", "BestEffort")


def test_an_ephemeral_container_is_added_and_never_changed() -> None:
    sub = SUBRESOURCES["ephemeralcontainers"]
    assert sub.write is not None
    debug = {"name": "debug", "image": "d:1"}
    old = pod()
    new = sub.write(old, pod(ephemeralContainers=[debug]))
    assert list(sub.validate(new, old)) == []
    changed = sub.write(new, pod(ephemeralContainers=[{**debug, "image": "d:2"}]))
    assert [e.body for e in sub.validate(changed, new)] == [
        'Forbidden: existing ephemeral containers "debug" may not be changed\n'
        '  core.EphemeralContainer{\n- \timage: "d:1",\n+ \timage: "d:2",\n  }'
    ]
    assert [e.body for e in sub.validate(old, new)] == [
        'Forbidden: existing ephemeral containers "debug" may not be removed\n'
    ]


def test_a_pod_is_resized_in_cpu_and_memory_alone() -> None:
    sub = SUBRESOURCES["resize"]
    assert sub.write is not None
    old = PODS.on_create(pod(containers=[{**C, "resources": {"requests": {"cpu": "1"}}}]))
    more = sub.write(old, pod(containers=[{**C, "resources": {"requests": {"cpu": "2"}}}]))
    assert list(sub.validate(more, old)) == []
    other = sub.write(old, pod(containers=[{**C, "image": "i:2", "resources": {"requests": {"cpu": "1"}}}]))
    assert [str(e) for e in sub.validate(other, old)] == ["spec: Forbidden: only cpu and memory resources are mutable"]
    fixed = sub.write(old, pod(containers=[{**C, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]))
    assert [str(e) for e in sub.validate(fixed, old)] == [
        'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'
    ]


def test_a_hidden_variable_is_warned_of() -> None:
    found = pod(containers=[{**C, "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}])
    assert list(PODS.warnings(found, None)) == [
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'
    ]


def test_half_a_byte_is_warned_of() -> None:
    found = pod(containers=[{**C, "resources": {"requests": {"memory": "100m"}}}])
    assert list(PODS.warnings(found, None)) == [
        'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer'
    ]


def test_ephemeral_containers_come_later() -> None:
    found = pod(ephemeralContainers=[{"name": "d", "image": "i:1"}])
    assert [str(e) for e in PODS.validate(found)] == ["spec.ephemeralContainers: Forbidden: cannot be set on create"]


# --- selection --------------------------------------------------------------------------------------------------------


def test_the_part_of_a_pod_that_is_read_to_select_it_has_every_field_that_it_can_be_selected_by() -> None:
    full = pod(
        nodeName="n1", restartPolicy="Never", schedulerName="mine", serviceAccountName="a", hostNetwork=True,
        status={"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "nominatedNodeName": "n2"},
    )  # fmt: skip
    part = decode(PodPart, encode(full))
    assert [read(part) for read in POD_FIELDS.values()] == [read(full) for read in POD_FIELDS.values()]  # type: ignore[arg-type]
    assert [read(part) for read in POD_FIELDS.values()] == [
        "n1", "Never", "mine", "a", "true", "Running", "10.0.0.1", "10.0.0.1,fd00::1", "n2",
    ]  # fmt: skip
