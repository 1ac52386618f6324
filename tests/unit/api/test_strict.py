import json
import time
from typing import Any

import pytest

from kybern.api import apps_v1, coordination_v1, core_v1, rbac_v1, schema, strict
from kybern.api.codec import encode
from kybern.api.meta_v1 import LabelSelector
from kybern.api.normal import normal
from kybern.api.storage_v1 import CSIStorageCapacity
from kybern.api.strict import Malformed, decode_value

POD: dict[str, Any] = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "a", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
}


def pod_with(**changes: Any) -> bytes:
    return json.dumps({**POD, **changes}).encode()


def test_a_body_without_fault_has_no_problems() -> None:
    for body in (json.dumps(POD).encode(), json.dumps(POD, separators=(",", ":")).encode() + b"\n"):
        pod, problems = strict.decode(core_v1.Pod, body)
        assert problems == []
        assert pod.spec.containers[0].ports == (core_v1.ContainerPort(container_port=80),)


def test_unknown_fields_are_named_by_their_path() -> None:
    body = pod_with(spec={"containers": [{"name": "c", "foo": 1}], "bar": {}}, zoo=[])
    pod, problems = strict.decode(core_v1.Pod, body)
    assert problems == ['unknown field "spec.containers[0].foo"', 'unknown field "spec.bar"', 'unknown field "zoo"']
    assert pod.spec.containers[0].name == "c"


def test_repeated_fields_are_named_by_their_path() -> None:
    body = b'{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"spec":{"containers":[{"name":"c","name":"d"}]}}'
    pod, problems = strict.decode(core_v1.Pod, body)
    assert problems == [
        'duplicate field "metadata.name"',
        'duplicate field "metadata.labels.x"',
        'duplicate field "spec.containers[0].name"',
    ]
    assert pod.metadata.name == "b"


def test_nothing_is_minded_unless_asked() -> None:
    assert strict.decode(core_v1.Pod, pod_with(foo=1), check=False)[1] == []


def test_labels_and_free_form_parts_have_no_unknown_fields() -> None:
    config_map = b'{"metadata":{"annotations":{"any.thing/x":"1"}},"data":{"spec":"x"}}'
    assert strict.decode(core_v1.ConfigMap, config_map)[1] == []


@pytest.mark.parametrize(
    ("wanted", "body", "why"),
    [
        (apps_v1.Deployment, b'{"spec":{"replicas":"x"}}',
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (apps_v1.Deployment, b'{"spec":{"replicas":1.5}}',
         "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (apps_v1.Deployment, b'{"spec":{"replicas":99999999999}}',
         "json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (core_v1.Pod, b'{"spec":{"containers":[{"name":1}]}}',
         "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string"),
        (core_v1.Pod, b'{"spec":{"containers":{}}}',
         "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (core_v1.Pod, b'{"spec":[]}', "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
        (core_v1.Pod, b"[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
        (core_v1.ConfigMap, b'{"data":{"a":1}}',
         "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (core_v1.Secret, b'{"data":{"a":1}}',
         "json: cannot unmarshal number into Go struct field Secret.data of type []uint8"),
        (core_v1.Pod, b'{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}',
         "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        (core_v1.Pod, b'{"metadata":{"creationTimestamp":"now"}}',
         'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"'),
        (core_v1.Pod, b'{"a"', "unexpected end of JSON input"),
        (core_v1.Pod, b"", "unexpected end of JSON input"),
        (core_v1.Pod, b"hello", "invalid character 'h' looking for beginning of value"),
        (core_v1.Pod, b"{}x", "invalid character 'x' after top-level value"),
        (core_v1.Pod, b'{"metadata":{"name":NaN}}', "invalid character 'N' looking for beginning of value"),
        (core_v1.Pod, b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", "exceeded max depth"),
        (core_v1.Pod, b'{"x":' + b"[" * 100_000, "exceeded max depth"),
        (core_v1.Pod, b'{"metadata":{"name":"\xff"}}', "invalid UTF-8 in JSON text"),
    ],
)  # fmt: skip
def test_a_body_that_nobody_accepts_is_refused_in_gos_words(wanted: type[Any], body: bytes, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        strict.decode(wanted, body)
    assert str(refused.value) == why


@pytest.mark.parametrize("body", [b'{"metadata":{"name":"\\ud800"}}', b'{"metadata":{"name":1e999}}'])
def test_a_lone_surrogate_and_a_number_without_end_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        strict.decode(core_v1.Pod, body)


def test_null_means_absent() -> None:
    pod, problems = strict.decode(core_v1.Pod, b'{"metadata":{"name":"a","creationTimestamp":null},"status":null}')
    assert problems == []
    assert pod.metadata.creation_timestamp is None


def test_an_optional_list_or_map_that_is_empty_is_absent_and_an_empty_struct_is_not() -> None:
    body = (
        b'{"metadata":{"name":"a","labels":{},"finalizers":[]},"spec":{"nodeSelector":{},"volumes":'
        b'[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","env":[],"securityContext":{}}]}}'
    )
    pod, problems = strict.decode(core_v1.Pod, body)
    assert not problems
    assert (pod.metadata.labels, pod.metadata.finalizers, pod.spec.node_selector) == (None, None, None)
    assert pod.spec.containers[0].env is None and pod.spec.containers[0].security_context is not None
    assert pod.spec.volumes and pod.spec.volumes[0].empty_dir is not None
    role, _ = strict.decode(rbac_v1.Role, b'{"metadata":{"name":"a"},"rules":[]}')
    assert role.rules == ()


def test_times_become_utc_in_their_own_precision() -> None:
    body = (
        b'{"metadata":{"creationTimestamp":"2026-01-31T10:00:00.5+02:00"},"spec":{"renewTime":"2026-01-31T08:00:00Z"}}'
    )
    lease, problems = strict.decode(coordination_v1.Lease, body)
    assert problems == []
    assert lease.metadata.creation_timestamp == "2026-01-31T08:00:00Z"
    assert lease.spec.renew_time == "2026-01-31T08:00:00.000000Z"


def test_deep_but_reasonable_bodies_are_fine() -> None:
    value: Any = 1
    for _ in range(strict.DEPTH_MAX - 1):
        value = [value]
    assert strict.depth(value) == strict.DEPTH_MAX - 1
    strict.parse(json.dumps(value).encode())


def test_refusals_read_as_upstreams() -> None:
    refusal = strict.cannot_be_handled(
        "Deployment", "v1", strict.strict_error(['unknown field "a"', 'unknown field "b"'])
    )
    assert refusal.message == (
        'Deployment in version "v1" cannot be handled as a Deployment: '
        'strict decoding error: unknown field "a", unknown field "b"'
    )
    assert strict.unrecognized("Pod", "why", b"").message == (
        "the object provided is unrecognized (must be of type Pod): why (<empty>)"
    )


def test_checking_costs_little() -> None:
    """A generous bound that only an accidental quadratic or a per-call build of the schema would break."""
    body = encode(strict.decode(core_v1.Pod, pod_with())[0])
    started = time.perf_counter()
    for _ in range(200):
        strict.decode(core_v1.Pod, body)
    assert (time.perf_counter() - started) / 200 < 0.002


def test_a_map_of_nulls_is_an_empty_one_which_is_not_there() -> None:
    sent = {"metadata": {"name": "a"}, "storageClassName": "x", "nodeTopology": {"matchLabels": {"a": None}}}
    found, _ = decode_value(CSIStorageCapacity, sent)
    assert found.node_topology == LabelSelector()
    assert decode_value(CSIStorageCapacity, json.loads(encode(found)))[0] == found


def test_null_is_a_value_of_a_map_whose_schema_says_so() -> None:
    for nullable, kept in ((True, {"a": None, "b": "x"}), (False, {"b": "x"})):
        node = schema.of_openapi({"type": "object", "additionalProperties": {"type": "string", "nullable": nullable}})
        assert normal(node, {"a": None, "b": "x"}) == kept
        assert strict.is_plain(node, {"a": None}) is nullable
