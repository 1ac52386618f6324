"""The forms in which answers can be asked for: `Accept`, negotiated once for each header text that occurs.

    application/json;as=Table;v=v1;g=meta.k8s.io,application/json

A wish that cannot be met is passed over for the next; when none is left, 406 names what there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from kybern.api.codec import untyped
from kybern.api.errors import NotAcceptable
from kybern.api.kind import Kind
from kybern.api.protobuf.table import message_of
from kybern.api.yaml_text import dump
from kybern.apiserver.binary import PROTOBUF, as_protobuf
from kybern.web.http import Body, Response

JSON = "application/json"
YAML = "application/yaml"
MEDIA = (JSON, YAML, PROTOBUF)
TEXT = (JSON, YAML)
TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
HEADERS_REMEMBERED = 256
ACCEPT_CHARS_MAX = 8 * 1024  # a header may be a megabyte, with half a million wishes in it


@dataclass(frozen=True, slots=True)
class Format:
    media: str = JSON
    transform: str = ""
    """Table, PartialObjectMetadata or PartialObjectMetadataList; empty: the object itself."""
    version: str = "v1"
    """Of the transform."""
    streams: bool = False
    """`;stream=watch` was asked for, as clients of protobuf do."""


PLAIN = Format()


@dataclass(frozen=True, slots=True)
class Wish:
    """One clause of an Accept header."""

    media: str
    params: Mapping[str, str]
    weight: float


def readable(accept: str) -> str:
    """NotAcceptable where it is too long for that."""
    if len(accept) > ACCEPT_CHARS_MAX:
        raise NotAcceptable(f"an Accept header of more than {ACCEPT_CHARS_MAX} characters is not read")
    return accept


@lru_cache(HEADERS_REMEMBERED)
def wishes(accept: str) -> tuple[Wish, ...]:
    found = []
    for clause in accept.split(","):
        media, *settings = (part.strip() for part in clause.split(";"))
        params = dict(setting.partition("=")[::2] for setting in settings)
        try:
            weight = float(params.get("q", "1"))
        except ValueError:
            weight = 0.0
        if media:
            found.append(Wish(media.lower(), params, weight))
    return tuple(sorted(found, key=lambda wish: (-wish.weight, wish.media.count("*"))))


@lru_cache(HEADERS_REMEMBERED)
def negotiate(accept: str, transforms: tuple[str, ...] = TRANSFORMS, plain: tuple[str, ...] = MEDIA) -> Format:
    """The first wish that can be met, of those that allow these transforms; `plain`: the media of the object itself."""
    if not accept:
        return PLAIN
    for wish in wishes(readable(accept)):
        media = JSON if wish.media in ("*/*", "application/*") else wish.media
        transform, version = wish.params.get("as", ""), wish.params.get("v", "v1")
        known = not transform or (transform in transforms and wish.params.get("g", "") == "meta.k8s.io")
        if media in (MEDIA if transform else plain) and known and writes(media, transform, version):
            return Format(media, transform, version, "stream" in wish.params)
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(plain)}")


def writes(media: str, transform: str, version: str) -> bool:
    """Whether a transform has such a form: protobuf knows no tables, and metadata in its first version only."""
    if media == PROTOBUF and transform:
        return transform != "Table" and version == "v1"
    return version in ("v1", "v1beta1")


def format_for(kind: Kind, accept: str, transforms: tuple[str, ...] = TRANSFORMS) -> Format:
    """The same for objects of a kind: custom resources have no protobuf, though their metadata has."""
    found = negotiate(accept, transforms)
    if found.media == PROTOBUF and not found.transform and not has_message(kind):
        return negotiate(accept, transforms, TEXT)
    return found


def has_message(kind: Kind) -> bool:
    typed = isinstance(kind.type, type) and issubclass(kind.type, msgspec.Struct)
    return typed and message_of(kind.api_version, kind.kind) is not None


JSON_HEADERS = {"Content-Type": JSON, "Cache-Control": "no-cache, private"}
YAML_HEADERS = {"Content-Type": YAML, "Cache-Control": "no-cache, private"}
PROTOBUF_HEADERS = {"Content-Type": PROTOBUF, "Cache-Control": "no-cache, private"}


def answer(body: Body, format_: Format = PLAIN, status: int = 200, *, pretty: bool = False) -> Response:
    """JSON bytes, in the form that was asked for."""
    if format_.media == JSON and not pretty:
        return Response(status, JSON_HEADERS, body)
    whole = body if isinstance(body, bytes) else b"".join(body)  # type: ignore[arg-type]
    if format_.media == PROTOBUF:
        return Response(status, PROTOBUF_HEADERS, as_protobuf(whole))
    if format_.media == YAML:
        return Response(status, YAML_HEADERS, as_yaml(whole))
    return Response(status, JSON_HEADERS, msgspec.json.format(whole, indent=2) + b"\n")


def as_yaml(body: bytes) -> bytes:
    return dump(untyped(body)).encode()
