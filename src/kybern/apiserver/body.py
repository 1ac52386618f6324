"""A request's body, as the kind that its address is about. What cannot be understood is refused in upstream's words."""

from typing import Any

from kybern.api import protobuf
from kybern.api.errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from kybern.api.kind import Kind
from kybern.api.meta_v1 import DeleteOptions
from kybern.api.strict import Malformed, cannot_be_handled, decode, decode_value, strict_error, unrecognized
from kybern.api.yaml import NotYaml, parse
from kybern.apiserver.binary import PROTOBUF
from kybern.apiserver.formats import JSON, MEDIA, YAML
from kybern.apiserver.options import Writing
from kybern.registry.resource import Obj
from kybern.web.http import BodyTooLarge, Request

YAML_TYPES = (YAML, "application/x-yaml", "text/yaml")
LIMIT = 3 * 1024 * 1024
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


def object_in(body: bytes, media: str, kind: Kind, writing: Writing) -> Obj:
    """The typed object; unknown and repeated fields refused, warned of or passed over, as the writer asked."""
    check = writing.validation != "Ignore"
    try:
        if media == JSON:
            obj, problems = decode(kind.type, body, check)
        elif media in YAML_TYPES:
            value, repeated = from_yaml(body)
            obj, problems = decode_value(kind.type, value, check, repeated)
        elif media == PROTOBUF:  # what it does not know was dropped, as upstream drops it
            obj, problems = decode_value(kind.type, protobuf.decode(body), False)
        else:
            raise unsupported(MEDIA)
    except Malformed as error:
        raise malformed(kind, body, error) from None
    check_kind(obj, kind)
    if problems:
        mind(problems, kind, writing)
    return obj


def mind(problems: list[str], kind: Kind, writing: Writing) -> None:
    if writing.validation == "Strict":
        raise cannot_be_handled(kind.kind, kind.version, strict_error(problems))
    writing.warnings += problems


def malformed(kind: Kind, body: bytes, error: Malformed) -> BadRequest:
    names_itself = b'"kind"' in body and b'"apiVersion"' in body
    if names_itself:
        return cannot_be_handled(kind.kind, kind.version, error)
    return unrecognized(kind.kind, error, body)


def check_kind(obj: Obj, kind: Kind) -> None:
    """A body may leave out what it is, but not claim to be something else."""
    sent_kind, sent_version = names_of(obj)
    if sent_kind and sent_kind != kind.kind:
        group, _, version = sent_version.rpartition("/")
        raise BadRequest(
            f'{sent_kind} in version "{version}" cannot be handled as a {kind.kind}: '
            f'no kind "{sent_kind}" is registered for the internal version of group "{group}"'
        )
    if sent_version and sent_version != kind.api_version:
        raise BadRequest(
            f"the API version in the data ({sent_version}) does not match the expected API version ({kind.api_version})"
        )


def names_of(obj: Any) -> tuple[str, str]:
    if isinstance(obj, dict):
        return str(obj.get("kind", "")), str(obj.get("apiVersion", ""))
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
        return parse(body)
    except NotYaml as error:
        raise Malformed(str(error)) from None
