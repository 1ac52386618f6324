"""An audit event as JSON: what upstream's `audit.k8s.io/v1 Event` says of a request at one of its stages."""

from collections.abc import Mapping
from typing import Any

import msgspec

from kybern.aio.clock import rfc3339_micro
from kybern.api import protobuf, yaml
from kybern.api.codec import untyped
from kybern.api.strict import Malformed
from kybern.apiserver.audit.policy import NAMES, Decided, Level
from kybern.apiserver.binary import PROTOBUF
from kybern.apiserver.body import YAML_TYPES, media_type
from kybern.apiserver.request import ApiRequest, User
from kybern.web.http import Joined, Response

Event = dict[str, Any]


def beginning(request: ApiRequest, decided: Decided, audit_id: str, user: User, received: float) -> Event:
    """What is known of a request before it is answered."""
    http, at = request.http, request.attributes
    event: Event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": NAMES[decided.level],
        "auditID": audit_id,
        "stage": "RequestReceived",
        "requestURI": f"{http.path}?{http.query}" if http.query else http.path,
        "verb": at.verb,
        "user": user_info(user),
        "sourceIPs": [http.peer.address.rpartition(":")[0].strip("[]")] if http.peer.address else [],
    }
    if agent := http.headers.get("user-agent"):
        event["userAgent"] = agent
    if at.is_resource:
        event["objectRef"] = reference(request)
    event["requestReceivedTimestamp"] = rfc3339_micro(received)
    return event


def user_info(user: User) -> dict[str, Any]:
    found: dict[str, Any] = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


def reference(request: ApiRequest) -> dict[str, str]:
    at = request.attributes
    named = {
        "resource": at.resource,
        "namespace": at.namespace,
        "name": at.name,
        "apiGroup": at.group,
        "apiVersion": at.version,
        "subresource": at.subresource,
    }
    return {name: value for name, value in named.items() if value}


def bodies(request: ApiRequest, response: Response, decided: Decided) -> dict[str, Any]:
    """The request's and the answer's object, as far as the level asks for them and they can be read."""
    found: dict[str, Any] = {}
    sent = request.http.body
    if decided.level >= Level.REQUEST and isinstance(sent, bytes) and sent and request.attributes.is_resource:
        found["requestObject"] = value_of(sent, media_type(request.http))
    if decided.level >= Level.REQUEST_RESPONSE and request.attributes.is_resource:
        found["responseObject"] = answered_value(response)
    present = {name: value for name, value in found.items() if value is not None}
    return (
        {name: without_managed_fields(value) for name, value in present.items()}
        if decided.omit_managed_fields
        else present
    )


def answered_value(response: Response) -> Any:
    body = response.body
    if isinstance(body, bytes | list | tuple | Joined):
        whole = body if isinstance(body, bytes) else b"".join(body)
        content_type = response.headers.get("Content-Type", "").partition(";")[0]
        return value_of(whole, content_type)
    return None


def value_of(body: bytes, media: str) -> Any:
    """None where it cannot be read: what is wrong with it is the answer's business."""
    try:
        if media in YAML_TYPES or media.endswith("+yaml"):
            return yaml.parse(body)[0]
        if media == PROTOBUF:
            return protobuf.decode(body)
        return untyped(body) if media.endswith("json") else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, yaml.NotYaml, Malformed):
        return None


def without_managed_fields(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found = dict(value)
    if isinstance(found.get("metadata"), dict):
        found["metadata"] = {key: part for key, part in found["metadata"].items() if key != "managedFields"}
    if isinstance(found.get("items"), list):
        found["items"] = [without_managed_fields(item) for item in found["items"]]
    return found


def status_of(response: Response) -> dict[str, Any]:
    """The answer's code and, of a refusal, what it said."""
    found: dict[str, Any] = {"metadata": {}, "code": response.status}
    if response.status >= 400:
        said = answered_value(response)
        if isinstance(said, Mapping) and said.get("kind") == "Status":
            found |= {key: said[key] for key in ("status", "message", "reason", "details") if said.get(key)}
    return found
