"""Protobuf bodies, as kubectl 1.32 sent them, and the same objects put together here by hand."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kybern.api import apiextensions_v1, apps_v1, coordination_v1, core_v1, kinds, policy_v1, schema, strict
from kybern.api.protobuf import decode, encode
from kybern.api.protobuf.table import EMBEDDED, message_of, messages
from kybern.api.strict import Malformed

DEPLOYMENT = bytes.fromhex(
    "6b3873000a150a07617070732f7631120a4465706c6f796d656e7412ab010a1d0a02643212001a0022002a003200380042005a090a0361707012"
    "026432127c0800120b0a090a03617070120264321a630a1b0a0012001a0022002a003200380042005a090a0361707012026432124412260a0178"
    "1201782a00320a0a001000185022002a0042006a007200800100880100900100a201001a00320042004a0052005800600068008201008a01009a"
    "0100c2010022020a00280038001a0c0800100018002000280038001a002200"
)
BUDGET = bytes.fromhex(
    "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e42756467657412360a110a017012001a0022002a003200380042"
    "0012150a09080110001a0335302512080a060a01611201621a0a080018002000280030001a002200"
)


WITHOUT_FIELDS = ("apiextensions_v1.CustomResourceSubresourceStatus", "batch_v1.JobSchedulingConfiguration")


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def body(api_version: str, kind: str, *parts: bytes) -> bytes:
    names = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, names) + field(2, b"".join(parts))


def test_a_deployment_of_kubectl_reads_as_its_json() -> None:
    assert decode(DEPLOYMENT) == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "d2", "labels": {"app": "d2"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "d2"}},
            "template": {
                "metadata": {"labels": {"app": "d2"}},
                "spec": {"containers": [{"name": "x", "image": "x", "ports": [{"containerPort": 80}]}]},
            },
        },
    }
    deployment, problems = strict.decode_value(apps_v1.Deployment, decode(DEPLOYMENT))
    assert problems == []
    assert deployment.spec.replicas == 0


def test_the_zero_of_a_pointer_is_kept_and_any_other_is_absent() -> None:
    spec = decode(DEPLOYMENT)["spec"]
    assert spec["replicas"] == 0
    assert "minReadySeconds" not in spec and "paused" not in spec and "strategy" not in spec


def test_a_number_or_text_is_either() -> None:
    budget = decode(BUDGET)
    assert budget["spec"] == {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}
    assert strict.decode_value(policy_v1.PodDisruptionBudget, budget)[1] == []


def test_bytes_become_base64_and_embedded_messages_their_parents_fields() -> None:
    secret = body("v1", "Secret", field(2, field(1, b"k") + field(2, b"\x00\xff")))
    assert decode(secret)["data"] == {"k": base64.b64encode(b"\x00\xff").decode()}
    source = field(2, field(2, b""))  # volumeSource { emptyDir {} }
    pod = body("v1", "Pod", field(2, field(1, field(1, b"v") + source)))
    assert decode(pod)["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_times_negative_numbers_and_quantities() -> None:
    created = field(1, field(8, field(1, 1_767_225_600) + field(2, 0)))
    assert decode(body("v1", "Pod", created))["metadata"] == {"creationTimestamp": "2026-01-01T00:00:00Z"}
    assert decode(body("scheduling.k8s.io/v1", "PriorityClass", field(2, -5)))["value"] == -5
    hard = field(2, field(1, field(1, b"cpu") + field(2, field(1, b"1500m"))))
    assert decode(body("v1", "ResourceQuota", hard))["spec"] == {"hard": {"cpu": "1500m"}}


def test_a_moment_in_the_first_year_keeps_its_four_digits_both_ways() -> None:
    """Go's clients write times that count from their zero time."""
    moment = "0001-01-01T00:00:02.000000Z"
    lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "spec": {"renewTime": moment}}
    renewed = field(2, field(4, field(1, -62_135_596_798) + field(2, 0)))
    assert decode(body("coordination.k8s.io/v1", "Lease", renewed))["spec"] == {"renewTime": moment}
    assert decode(encode(lease))["spec"]["renewTime"] == moment
    assert strict.decode_value(coordination_v1.Lease, lease)[0].spec.renew_time == moment


def test_what_is_of_any_kind_is_json_or_such_a_body_again() -> None:
    data = field(2, field(1, b'{"a":[1]}'))
    assert decode(body("apps/v1", "ControllerRevision", data))["data"] == {"a": [1]}
    nested = field(2, field(1, DEPLOYMENT))
    assert decode(body("apps/v1", "ControllerRevision", nested))["data"]["kind"] == "Deployment"


def test_schemas_of_custom_resources_keep_their_alternatives() -> None:
    found = messages()["apiextensions_v1.JSONSchemaProps"]
    numbers = {value.name: number for number, value in found.items()}
    items = field(numbers["items"], field(1, field(numbers["type"], b"string")))
    more = field(numbers["additionalProperties"], field(1, 1))
    needs = field(numbers["dependencies"], field(1, b"a") + field(2, field(2, b"b")))
    default = field(numbers["default"], field(1, b"7"))
    crd = {value.name: number for number, value in messages()["apiextensions_v1.CustomResourceValidation"].items()}
    version = {
        value.name: number for number, value in messages()["apiextensions_v1.CustomResourceDefinitionVersion"].items()
    }
    spec = {value.name: number for number, value in messages()["apiextensions_v1.CustomResourceDefinitionSpec"].items()}
    whole = field(crd["openAPIV3Schema"], items + more + needs + default)
    sent = field(2, field(spec["versions"], field(version["name"], b"v1") + field(version["schema"], whole)))
    value = decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", sent))
    schema_ = value["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema_ == {
        "items": {"type": "string"},
        "additionalProperties": True,
        "dependencies": {"a": ["b"]},
        "default": 7,
    }
    assert strict.decode_value(apiextensions_v1.CustomResourceDefinition, value)[1] == []


def test_unknown_fields_are_passed_over() -> None:
    assert decode(body("v1", "ConfigMap", field(99, b"x"), field(98, 7))) == {"kind": "ConfigMap", "apiVersion": "v1"}


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"k8s\x00", body("v1", "Nothing"), body("x/v1", "Pod"), body("v1", "Pod", b"\x0b"), body("v1", "Pod", b"\x0a\xff"),
     body("v1", "Pod", b"\xff" * 12), body("v1", "Pod", field(1, 7)), body("v1", "Pod", field(1, field(1, b"\xff"))),
     body("v1", "Pod", field(1, field(8, field(1, 2**62)))), body("apps/v1", "ControllerRevision", field(2, field(1, b"{")))],
)  # fmt: skip
def test_what_is_no_such_body_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_a_body_without_end_inside_itself_is_refused() -> None:
    nested = b"{}"
    for _ in range(300):
        nested = body("apps/v1", "ControllerRevision", field(2, field(1, nested)))
    with pytest.raises(Malformed, match="exceeded max depth"):
        decode(nested)


@settings(deadline=None)  # the first body of all waits for the table
@given(st.integers(0, len(DEPLOYMENT)), st.binary(max_size=4))
def test_a_damaged_body_fails_in_no_other_way(at: int, noise: bytes) -> None:
    try:
        json.dumps(decode(DEPLOYMENT[:at] + noise + DEPLOYMENT[at + len(noise) :]))
    except Malformed:
        pass


def test_every_served_kind_has_a_message_and_every_field_of_a_message_a_place_in_its_type() -> None:
    for kind in kinds.KINDS:
        message = message_of(kind.api_version, kind.kind)
        assert message is not None, kind
        known = schema.of(kind.type).fields
        names = {value.name for value in messages()[message].values()} - {EMBEDDED}
        assert names <= known.keys(), kind
    for name, numbers in messages().items():
        for value in numbers.values():
            assert len(value.kind) == 1 or value.kind in messages() or value.kind in WITHOUT_FIELDS, (name, value)


def test_a_pods_fields_all_have_numbers() -> None:
    def names(message: str) -> set[str]:
        found: set[str] = set()
        for value in messages()[message].values():
            found |= names(value.kind) if value.name == EMBEDDED else {value.name}
        return found

    for struct in (
        core_v1.PodSpec,
        core_v1.Container,
        core_v1.Volume,
        core_v1.Probe,
        core_v1.ServiceSpec,
        apps_v1.DeploymentSpec,
    ):
        missing: set[Any] = schema.of(struct).fields.keys() - names(
            f"{struct.__module__.rpartition('.')[2]}.{struct.__name__}"
        )
        assert not missing, struct
