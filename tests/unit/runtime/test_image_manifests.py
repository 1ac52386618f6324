"""Manifests from strangers: believed only when they are what they say."""

from typing import Any

import pytest

from kybern.runtime.images.image import defaults_of
from kybern.runtime.images.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    BadImage,
    choose,
    decode,
    descriptor,
    diff_ids,
    media_type_of,
    parse_manifest,
)

DIGEST = "sha256:" + "a" * 64
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 5}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 5}


def entry(architecture: str, **fields: Any) -> dict[str, Any]:
    return {**LAYER, "platform": {"os": "linux", "architecture": architecture}, **fields}


def test_the_entry_for_this_machine_is_chosen() -> None:
    other = "sha256:" + "b" * 64
    index = {"manifests": [entry("arm64"), entry("amd64", digest=other), entry("s390x")]}
    assert choose(index, "x86_64").digest == other
    with pytest.raises(BadImage, match="no match for platform in manifest: linux/riscv64"):
        choose(index, "riscv64")


def test_a_document_that_is_manifest_and_index_is_refused() -> None:
    both = {"mediaType": MANIFEST_TYPES[0], "manifests": [], "layers": [], "config": CONFIG}
    with pytest.raises(BadImage, match="also an index"):
        media_type_of(both, MANIFEST_TYPES[0])
    with pytest.raises(BadImage, match="unsupported manifest"):
        media_type_of({"mediaType": INDEX_TYPES[0], "layers": []}, MANIFEST_TYPES[0])


@pytest.mark.parametrize(
    "found",
    [
        None, [], {}, {**LAYER, "digest": "sha256:../../x"}, {**LAYER, "digest": "md5:abc"}, {**LAYER, "digest": 5},
        {**LAYER, "digest": "sha256:" + "A" * 64}, {**LAYER, "size": -1}, {**LAYER, "size": 1 << 60},
        {**LAYER, "size": True}, {**LAYER, "size": "5"}, {**LAYER, "mediaType": 1},
    ],
)  # fmt: skip
def test_a_descriptor_is_checked(found: Any) -> None:
    with pytest.raises(BadImage):
        descriptor(found, 1 << 40)


def test_layers_are_counted_and_of_a_known_kind() -> None:
    assert parse_manifest({"config": CONFIG, "layers": [LAYER] * 3}, DIGEST).layers[2].size == 5
    for layers in ("no", [LAYER] * 501, [{**LAYER, "mediaType": "application/x-executable"}]):
        with pytest.raises(BadImage):
            parse_manifest({"config": CONFIG, "layers": layers}, DIGEST)
    with pytest.raises(BadImage, match="mismatched"):
        diff_ids({"rootfs": {"diff_ids": [DIGEST]}}, 2)
    for rootfs in (None, [], {"diff_ids": 5}, {"diff_ids": ["../x"]}):
        with pytest.raises(BadImage):
            diff_ids({"rootfs": rootfs}, 1)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 200_000, b"\xff", b"5"])
def test_what_is_not_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(data, "manifest")


def test_a_configuration_of_wrong_types_is_refused() -> None:
    for config in ({"Cmd": "sh"}, {"Env": [1]}, {"User": [1]}, {"Cmd": ["a\0b"]}, "text"):
        with pytest.raises(ValueError, match="image configuration"):
            defaults_of({"config": config})
    assert defaults_of({"config": {"Volumes": {"/data": {}, "../x": {}}}}).volumes == ("/data",)
