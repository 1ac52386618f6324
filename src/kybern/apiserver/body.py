"""A request's body, as the kind that its address is about. What cannot be understood is refused in upstream's words."""

from typing import Any

import msgspec

from kybern.aio.beside import beside
from kybern.api import protobuf
from kybern.api.custom import is_custom
from kybern.api.errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from kybern.api.go_messages import go_name
from kybern.api.kind import Kind
from kybern.api.kinds import KINDS
from kybern.api.meta_v1 import DeleteOptions
from kybern.api.strict import Malformed, cannot_be_handled, decode, decode_value, parse, strict_error, unrecognized
from kybern.api.yaml import NotYaml
from kybern.api.yaml import parse as parse_yaml
from kybern.apiserver.binary import PROTOBUF
from kybern.apiserver.formats import JSON, MEDIA, TEXT, YAML
from kybern.apiserver.options import Writing, is_large
from kybern.registry.resource import Obj
from kybern.web.http import BodyTooLarge, Request

YAML_TYPES = (YAML, "application/x-yaml", "text/yaml")
LIMIT = 3 * 1024 * 1024
SERVED = {(kind.api_version, kind.kind) for kind in KINDS}
FORMER = {"Eviction": ("Eviction", "policy/v1beta1")}  # what an older `kubectl drain` sends; upstream takes it too
SCHEME = "pkg/api/legacyscheme/scheme.go:30"  # messages of upstream name the place that knows the kinds
WRONG_VERSION = "the API version in the data ({}) does not match the expected API version ({})"
NO_KIND = "couldn't get version/kind"
NAMES_IN_GO = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
YAML_BYTES_MAX = 1024 * 1024  # reading YAML takes a hundred times as long as JSON


async def body_of(request: Request) -> bytes:
    if isinstance(request.body, bytes) and len(request.body) <= LIMIT:
        return request.body
    try:
        return await request.read(LIMIT)
    except BodyTooLarge:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {LIMIT}") from None


def media_type(request: Request) -> str:
    """The body's, without its parameters; JSON where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON


def unsupported(accepted: tuple[str, ...]) -> UnsupportedMediaType:
    listed = ", ".join(accepted)
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {listed}"
    )


async def sent_object(request: Request, kind: Kind, writing: Writing) -> Obj:
    """What a request's body says."""
    body, media = await sent_bytes(request, writing), media_type(request)
    return await beside(lambda: object_in(body, media, kind, writing), writing.is_long)


async def sent_bytes(request: Request, writing: Writing) -> bytes:
    body = await body_of(request)
    writing.is_long = is_large(body)
    return body


def object_in(body: bytes, media: str, kind: Kind, writing: Writing) -> Obj:
    """The typed object; unknown and repeated fields refused, warned of or passed over, as the writer asked."""
    check = writing.validation != "Ignore"
    try:
        if media == JSON:
            obj, problems = decode(kind.type, b"{}" if body == b"null" else body, check)  # Go reads null so
        elif media in YAML_TYPES:
            value, repeated = from_yaml(body)
            obj, problems = decode_value(kind.type, value, check, repeated)
        elif media == PROTOBUF and not is_custom(kind.type):  # what it does not know was dropped, as upstream drops it
            obj, problems = decode_value(kind.type, protobuf.decode(body), False)
        else:
            raise unsupported(TEXT if is_custom(kind.type) else MEDIA)
    except Malformed as error:
        raise refusal(body, media, kind, error) from None
    if is_custom(kind.type) and not obj["kind"]:
        raise unrecognized(kind.kind, f"Object 'Kind' is missing in '{body.decode(errors='replace')}'", body)
    check_kind(*names_of(obj), kind)
    if problems:
        mind(problems, kind, writing)
    return named_as(obj, kind)


def named_as(obj: Obj, kind: Kind) -> Obj:
    """The object, saying what it is also where its writer left that empty."""
    if is_custom(kind.type) or (obj.kind and obj.api_version):
        return obj
    return msgspec.structs.replace(obj, kind=obj.kind or kind.kind, api_version=obj.api_version or kind.api_version)


def mind(problems: list[str], kind: Kind, writing: Writing) -> None:
    if writing.validation == "Strict":
        raise cannot_be_handled(kind.kind, kind.version, strict_error(problems))
    writing.warnings += problems


def refusal(body: bytes, media: str, kind: Kind, error: Malformed) -> BadRequest:
    """Upstream's: what can be asked for its kind is refused as one of the kind, all else as nothing known."""
    if media == PROTOBUF:
        return unrecognized(kind.kind, error, body)
    try:
        value = from_yaml(body)[0] if media in YAML_TYPES else parse(body)
    except Malformed as broken:
        why = broken if media in YAML_TYPES else f"{NO_KIND}; json parse error: {broken}"
        return unrecognized(kind.kind, why, body)
    nameless = unnamed(value)
    if nameless:
        return unrecognized(kind.kind, f"{NO_KIND}; json parse error: {nameless}", body)
    sent_kind, sent_version = names_of(value)
    check_kind(sent_kind, sent_version, kind)
    return cannot_be_handled(kind.kind, kind.version, error)


def unnamed(value: Any) -> str:
    """Why a body cannot say what it is: it is no object, or its kind is no text. Empty where it can."""
    if not isinstance(value, dict):
        return f"json: cannot unmarshal {go_name(value)} into Go value of type {NAMES_IN_GO}"
    for field in ("kind", "apiVersion"):
        if not isinstance(value.get(field, ""), str | type(None)):
            return f"json: cannot unmarshal {go_name(value[field])} into Go struct field .{field} of type string"
    return ""


def check_kind(sent_kind: str, sent_version: str, kind: Kind) -> None:
    """A body may leave out what it is, but not claim to be something else."""
    sent_kind, sent_version = sent_kind or kind.kind, sent_version or kind.api_version
    if (sent_kind, sent_version) in ((kind.kind, kind.api_version), FORMER.get(kind.kind)):
        return
    if is_custom(kind.type):
        if sent_version != kind.api_version:
            raise BadRequest(WRONG_VERSION.format(sent_version, kind.api_version))
        return  # that a custom object is of its kind is a rule among its kind's own
    group, _, version = sent_version.rpartition("/")
    if (sent_version, sent_kind) not in SERVED:
        why = f'no kind "{sent_kind}" is registered for version "{sent_version}" in scheme "{SCHEME}"'
        raise cannot_be_handled(sent_kind, version, why, kind.kind)
    if (sent_kind, group) != (kind.kind, kind.group):
        package = kind.group.partition(".")[0] or "core"
        why = f"converting ({version}.{sent_kind}) to ({package}.{kind.kind}): unknown conversion"
        raise cannot_be_handled(sent_kind, version, why, kind.kind)
    raise BadRequest(WRONG_VERSION.format(sent_version, kind.api_version))


def names_of(obj: Any) -> tuple[str, str]:
    if isinstance(obj, dict):
        return str(obj.get("kind") or ""), str(obj.get("apiVersion") or "")
    return obj.kind or "", obj.api_version or ""


def delete_options(body: bytes, media: str) -> DeleteOptions:
    """The body of a DELETE, if it has one."""
    try:
        if media in YAML_TYPES:
            value, _ = from_yaml(body)
            options: DeleteOptions = decode_value(DeleteOptions, value, False)[0]
        elif media == PROTOBUF:
            options = decode_value(DeleteOptions, protobuf.decode(body), False)[0]
        elif media == JSON:
            options = decode(DeleteOptions, body, False)[0]
        else:
            raise unsupported(MEDIA)
    except Malformed as error:
        raise unrecognized("DeleteOptions", error, body) from None
    if options.kind not in (None, "", "DeleteOptions"):
        raise BadRequest(f'no kind "{options.kind}" is registered for version "{options.api_version or ""}"')
    return options


def from_yaml(body: bytes) -> tuple[Any, list[str]]:
    """The value, and the keys that came twice."""
    if len(body) > YAML_BYTES_MAX:
        raise RequestEntityTooLarge(f"YAML of more than {YAML_BYTES_MAX} bytes is not read; send JSON")
    try:
        return parse_yaml(body)
    except NotYaml as error:
        raise Malformed(str(error)) from None
