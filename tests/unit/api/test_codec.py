import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api import apiextensions_v1, codec, core_v1, strict
from kybern.api.codec import decode, encode, from_builtins, to_builtins
from kybern.api.meta_v1 import ObjectMeta

texts = st.one_of(st.none(), st.text(max_size=5))
labels = st.one_of(st.none(), st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3))


@given(texts, labels, labels)
def test_what_is_encoded_decodes_to_the_same(
    name: str | None, found: dict[str, str] | None, data: dict[str, str] | None
) -> None:
    config_map = core_v1.ConfigMap(metadata=ObjectMeta(name=name, labels=found), data=data)
    assert decode(core_v1.ConfigMap, encode(config_map)) == config_map
    assert from_builtins(core_v1.ConfigMap, to_builtins(config_map)) == config_map


def test_kind_and_version_come_first() -> None:
    assert encode(core_v1.Pod()).startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{}')


def test_quantities_become_canonical_on_the_way_in() -> None:
    quota = decode(core_v1.ResourceQuota, b'{"spec":{"hard":{"cpu":"1000m","memory":"1024Mi","pods":5}}}')
    assert quota.spec.hard == {"cpu": "1", "memory": "1Gi", "pods": "5"}
    assert encode(quota).endswith(b'"spec":{"hard":{"cpu":"1","memory":"1Gi","pods":"5"}},"status":{}}')


def test_null_means_absent_also_where_a_value_is_required() -> None:
    pod = decode(core_v1.Pod, b'{"metadata":null,"spec":{"containers":null,"nodeName":null}}')
    assert pod == core_v1.Pod()
    assert from_builtins(core_v1.Pod, {"spec": {"containers": None}}) == core_v1.Pod()


def test_null_in_a_free_form_part_is_kept() -> None:
    crd = from_builtins(apiextensions_v1.JSONSchemaProps, {"default": {"a": None}})
    assert crd.default == {"a": None}


def test_a_wrong_type_names_its_place() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.spec\.nodeName"):
        decode(core_v1.Pod, b'{"spec":{"nodeName":1}}')


@pytest.mark.parametrize("body", [b"[1e400]", b"[-1e999]", b'{"a":[{"b":2%s}]}' % (b"0" * 308), b"-1%s" % (b"0" * 309)])
def test_numbers_beyond_all_that_there_are_are_refused(body: bytes) -> None:
    with pytest.raises(strict.Malformed, match="cannot unmarshal number into Go value of type float64"):
        strict.parse(body)


@pytest.mark.parametrize("body", [b"1" + b"0" * 308, b'["%s"]' % (b"9" * 400), b"[0.%s, true]" % (b"3" * 400)])
def test_others_are_read_however_many_digits_they_have(body: bytes) -> None:
    assert strict.parse(body) == json.loads(body)


def test_numbers_are_read_in_the_same_time_whatever_their_exponents() -> None:
    read = codec.untyped.__self__  # type: ignore[attr-defined]
    assert read.float_hook is codec._decoder(core_v1.ConfigMap).float_hook is codec.number
    assert codec.untyped(b"[1e300, 1.5, -0.0, 5e-324, 1]") == [1e300, 1.5, -0.0, 5e-324, 1]
