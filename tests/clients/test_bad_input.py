"""What the server refuses, through HTTPS with the administrator's certificate: code, reason and message are upstream's.

Nothing that is refused changes the store, and no refusal is the server's fault or leaves a traceback in its logs.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from conftest import Cluster

from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.tls import client_context

pytestmark = pytest.mark.clients

JSON, YAML, XML = "application/json", "application/yaml", "application/xml"
JSON_PATCH, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
MAPS, MAP = "/configmaps", "/configmaps/kept"
DEPLOYMENTS = "/deployments"
REJECTED = "the server rejected our request due to an error in our request"
UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
NOT_HANDLED = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '

Send = Callable[..., Awaitable[tuple[int, Any]]]


def config_map(**given: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made"}, **given}


TABLE: list[tuple[str, str, str, Any, int, str, str]] = [
    # method, path, content type, body, code, reason, a part of the message
    ("POST", MAPS, JSON, b"", 400, "BadRequest", UNRECOGNIZED + "couldn't get version/kind; json parse error: unexpected"),
    ("POST", MAPS, JSON, b"{", 400, "BadRequest", "unexpected end of JSON input ({)"),
    ("POST", MAPS, JSON, b"[]", 400, "BadRequest", "json: cannot unmarshal array into Go value of type struct"),
    ("POST", MAPS, JSON, b"{}x", 400, "BadRequest", "invalid character 'x' after top-level value ({}x)"),
    ("POST", MAPS, JSON, b'{"a":' * 5000, 400, "BadRequest", UNRECOGNIZED),
    ("POST", MAPS, YAML, b"a: [", 400, "BadRequest", "error converting YAML to JSON: yaml: "),
    ("POST", MAPS, YAML, b"a: &a [*a]", 400, "BadRequest", "unknown anchor 'a' referenced"),
    ("POST", MAPS, XML, b"<a/>", 415, "UnsupportedMediaType", "accepted media types include: application/json"),
    ("POST", MAPS, JSON, config_map(data={"a": "x" * 4_000_000}), 413, "RequestEntityTooLarge", "limit is 3145728"),
    ("POST", MAPS, JSON, config_map(data={"a": "x" * 1_100_000}), 422, "Invalid", "may not be more than 1048576 bytes"),
    ("POST", MAPS, JSON, config_map(data={"a": 1}), 400, "BadRequest",
     NOT_HANDLED + "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
    ("POST", MAPS, JSON, config_map(metadata="x"), 400, "BadRequest", "field ConfigMap.metadata of type v1.ObjectMeta"),
    ("POST", MAPS, JSON, config_map(binaryData={"a": "!"}), 400, "BadRequest", "illegal base64 data at input byte 0"),
    ("POST", MAPS, JSON, config_map(kind="Pod"), 400, "BadRequest",
     "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
    ("POST", MAPS, JSON, config_map(kind="Foo"), 400, "BadRequest", 'no kind "Foo" is registered for version "v1"'),
    ("POST", f"{MAPS}?fieldValidation=Strict", JSON, config_map(zip=1), 400, "BadRequest",
     NOT_HANDLED + 'strict decoding error: unknown field "zip"'),
    ("POST", f"{MAPS}?fieldValidation=Strict", JSON,
     b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"made"},"data":{"a":"1","a":"2"}}',
     400, "BadRequest", 'strict decoding error: duplicate field "data.a"'),
    ("POST", f"{MAPS}?fieldValidation=Bogus", JSON, config_map(), 422, "Invalid", 'Unsupported value: "Bogus"'),
    ("POST", f"{MAPS}?dryRun=Some", JSON, config_map(), 422, "Invalid", 'dryRun: Unsupported value: "Some"'),
    ("POST", MAPS, JSON, config_map(metadata={}), 422, "Invalid",
     'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
    ("POST", MAPS, JSON, config_map(metadata={"name": "Bad_Name"}), 422, "Invalid", "a lowercase RFC 1123 subdomain"),
    ("POST", MAPS, JSON, config_map(metadata={"name": "made", "namespace": "other"}), 400, "BadRequest",
     "the namespace of the provided object does not match the namespace sent on the request"),
    ("POST", MAPS, JSON, config_map(metadata={"name": "made", "resourceVersion": "5"}), 400, "BadRequest",
     "resourceVersion should not be set on objects to be created"),
    ("POST", MAPS, JSON, config_map(metadata={"name": "made", "labels": {"a b": "c"}}), 422, "Invalid",
     'metadata.labels: Invalid value: "a b": name part must consist of'),
    ("POST", MAPS, JSON, config_map(metadata={"name": "kept"}), 409, "AlreadyExists", 'configmaps "kept" already exists'),
    ("POST", DEPLOYMENTS, JSON, {"metadata": {"name": "made"}, "spec": {"replicas": -1}}, 422, "Invalid",
     "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ("PUT", MAPS, JSON, config_map(), 405, "MethodNotAllowed", "the server does not allow this method"),
    ("PUT", MAP, JSON, config_map(), 400, "BadRequest",
     "the name of the object (made) does not match the name on the URL (kept)"),
    ("PUT", MAP, JSON, config_map(metadata={"name": "kept", "resourceVersion": "1"}), 409, "Conflict",
     "the object has been modified; please apply your changes to the latest version and try again"),
    ("PUT", MAP, JSON, config_map(metadata={"name": "kept", "uid": "u"}), 409, "Conflict", "UID in precondition: u"),
    ("PATCH", MAP, JSON, {}, 415, "UnsupportedMediaType", "accepted media types include: application/json-patch+json"),
    ("PATCH", "/configmaps/none", MERGE, {}, 404, "NotFound", 'configmaps "none" not found'),
    ("PATCH", MAP, MERGE, b"{", 400, "BadRequest", "error decoding patch: unexpected end of JSON input"),
    ("PATCH", MAP, MERGE, {"data": {"a": 5}}, 422, "Invalid", ' "" is invalid: patch: Invalid value: '),
    ("PATCH", MAP, MERGE, {"kind": "Pod"}, 422, "Invalid", ' "" is invalid: patch: Invalid value: '),
    ("PATCH", MAP, MERGE, {"metadata": {"uid": "u"}}, 422, "Invalid", 'metadata.uid: Invalid value: "u": field is immut'),
    ("PATCH", f"{MAP}?force=true", MERGE, {}, 422, "Invalid", "may not be specified for non-apply patch"),
    ("PATCH", MAP, JSON_PATCH, {}, 400, "BadRequest", "cannot unmarshal object into Go value of type jsonpatch.Patch"),
    ("PATCH", MAP, JSON_PATCH, [{"op": "test", "path": "/data/a", "value": "z"}], 422, "Invalid", REJECTED),
    ("PATCH", MAP, JSON_PATCH, [{"op": "jump", "path": "/data/a"}], 422, "Invalid", REJECTED),
    ("PATCH", MAP, JSON_PATCH, [{"op": "remove", "path": ""}], 422, "Invalid", REJECTED),
    ("PATCH", MAP, JSON_PATCH, [{"op": "replace", "path": "/apiVersion", "value": "v9"}], 422, "Invalid", "patch"),
    ("PATCH", MAP, JSON_PATCH, [{"op": "remove", "path": "/data/a"}] * 10_001, 413, "RequestEntityTooLarge",
     "The allowed maximum operations in a JSON patch is 10000, got 10001"),
    ("PATCH", f"{MAP}?fieldValidation=Strict", STRATEGIC, {"zip": 1}, 422, "Invalid",
     'Invalid value: "map[zip:1]": strict decoding error: unknown field "zip"'),
    ("PATCH", MAP, APPLY, config_map(metadata={"name": "kept"}), 422, "Invalid", "is required for apply patch"),
    ("PATCH", f"{MAP}?fieldManager=m", APPLY, config_map(metadata={"name": "kept"}, data={"a": "9"}), 409, "Conflict",
     "Apply failed with 1 conflict"),
    ("GET", f"{MAPS}?limit=abc", JSON, None, 400, "BadRequest", 'strconv.ParseInt: parsing "abc": invalid syntax'),
    ("GET", f"{MAPS}?continue=abc", JSON, None, 400, "BadRequest", "invalid continue token: continue key is not valid"),
    ("GET", f"{MAPS}?labelSelector=a%20b", JSON, None, 400, "BadRequest", "unable to parse requirement: found 'b'"),
    ("GET", f"{MAPS}?fieldSelector=spec.a=x", JSON, None, 400, "BadRequest", "is not a known field selector"),
    ("GET", f"{MAPS}?resourceVersionMatch=Exact", JSON, None, 422, "Invalid", "unless resourceVersion is provided"),
    ("GET", f"{MAPS}?sendInitialEvents=true", JSON, None, 422, "Invalid", "sendInitialEvents is forbidden for list"),
    ("DELETE", f"{MAP}?propagationPolicy=Bogus", JSON, None, 422, "Invalid", 'Unsupported value: "Bogus"'),
    ("DELETE", MAP, JSON, {"preconditions": {"uid": "u"}}, 409, "Conflict",
     "the UID in the precondition (u) does not match the UID in record"),
    ("DELETE", MAP, JSON, b"{", 400, "BadRequest", "unexpected end of JSON input"),
]  # fmt: skip


@pytest.fixture
async def send(cluster: Cluster) -> AsyncIterator[Send]:
    """Paths begin below a namespace that holds one ConfigMap, `kept`."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority, certificate, key = (
        base64.b64decode(of[name])
        for of, name in (
            (server, "certificate-authority-data"),
            (user, "client-certificate-data"),
            (user, "client-key-data"),
        )
    )
    namespace = f"bad-{time.monotonic_ns()}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("create", "configmap", "kept", "-n", namespace, "--from-literal=a=1")
    async with Client(server["server"], ssl=client_context(ca=authority, certificate=certificate, key=key)) as client:

        async def request(method: str, path: str, media: str = JSON, body: Any = None, **headers: str) -> Any:
            group = "/apis/apps/v1" if path.startswith(DEPLOYMENTS) else "/api/v1"
            place, _, query = f"{group}/namespaces/{namespace}{path}".partition("?")
            data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            sent = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
            answer = await client.send(Request(method, place, query, sent, data))
            return answer.status, json.loads(await answer.read())

        yield request
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


async def test_what_is_wrong_is_refused_in_upstreams_words_and_changes_nothing(cluster: Cluster, send: Send) -> None:
    _, kept = await send("GET", MAP)
    wrong = []
    for method, path, media, body, code, reason, message in TABLE:
        status, said = await send(method, path, media, body)
        if (status, said.get("reason"), said.get("code")) != (code, reason, code) or message not in said["message"]:
            wrong.append((method, path, str(body)[:60], status, said.get("reason"), str(said.get("message"))[:200]))
    assert not wrong
    assert (await send("GET", MAP))[1] == kept
    assert (await send("GET", f"{MAPS}/made"))[0] == 404
    assert (await send("GET", f"{DEPLOYMENTS}/made"))[0] == 404
    for log in (cluster.data_dir / "logs").iterdir():
        assert "Traceback" not in log.read_text(errors="replace"), log.name


async def test_every_wrong_field_is_a_cause(send: Send) -> None:
    _, said = await send("POST", DEPLOYMENTS, JSON, {"metadata": {"name": "made"}, "spec": {"replicas": -1}})
    causes = [(cause["field"], cause["reason"]) for cause in said["details"]["causes"]]
    assert ("spec.replicas", "FieldValueInvalid") in causes
    assert ("spec.selector", "FieldValueRequired") in causes
    assert (said["details"]["kind"], said["details"]["group"]) == ("Deployment", "apps")


async def test_a_missing_permission_is_named(send: Send) -> None:
    status, said = await send("GET", MAP, impersonate_user="bob")
    assert (status, said["reason"]) == (403, "Forbidden")
    start = (
        'configmaps "kept" is forbidden: User "bob" cannot get resource "configmaps" in API group "" in the namespace'
    )
    assert said["message"].startswith(start)


async def test_unknown_fields_are_dropped_where_nobody_minds(send: Send) -> None:
    for validation in ("Ignore", "Warn"):
        body = config_map(zip=1)
        status, made = await send("POST", f"{MAPS}?fieldValidation={validation}&dryRun=All", JSON, body)
        assert (status, "zip" in made) == (201, False)
    assert (await send("GET", f"{MAPS}/made"))[0] == 404
