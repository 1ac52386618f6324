import json
from collections.abc import AsyncIterator

import pytest

from kybern.api.core_v1 import ConfigMap, Pod
from kybern.api.errors import Conflict, Expired, NotFound, ServiceUnavailable
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, InMemory, Write
from kybern.web.http import Request, Response


class Scripted:
    """Answers one response after the other and remembers what it was asked."""

    def __init__(self, *responses: Response) -> None:
        self.responses = list(responses)
        self.asked: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.asked.append(request)
        return self.responses.pop(0)


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(value).encode())


def status(code: int, reason: str, message: str = "no") -> Response:
    return json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, code)


CONFIG = {"metadata": {"name": "a", "namespace": "x", "uid": "u1", "resourceVersion": "7"}, "data": {"k": "v"}}


async def test_a_get_decodes_the_object() -> None:
    server = Scripted(json_response(CONFIG))
    found = await Client(server).get(ConfigMap, "a", "x")
    assert (found.data, server.asked[0].path) == ({"k": "v"}, "/api/v1/namespaces/x/configmaps/a")


async def test_a_list_without_a_namespace_asks_for_all_of_them() -> None:
    server = Scripted(json_response({"items": [CONFIG], "metadata": {}}))
    found = await Client(server).list(ConfigMap, labels="a=b,c")
    assert [config.metadata.name for config in found] == ["a"]
    assert (server.asked[0].path, server.asked[0].query) == ("/api/v1/configmaps", "labelSelector=a%3Db%2Cc")


async def test_a_status_body_becomes_its_error() -> None:
    for code, reason, error in ((404, "NotFound", NotFound), (409, "Conflict", Conflict), (410, "Gone", Expired)):
        with pytest.raises(error):
            await Client(Scripted(status(code, reason))).get(Pod, "a", "x")


async def test_an_error_without_a_status_keeps_its_code() -> None:
    with pytest.raises(ServiceUnavailable, match="overloaded"):
        await Client(Scripted(Response(503, {}, b"overloaded\n"))).get(Pod, "a", "x")


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    async def refuse(request: Request) -> Response:
        raise ConnectionRefusedError("refused")

    with pytest.raises(ServiceUnavailable):
        await Client(InMemory(refuse)).get(Pod, "a", "x")


async def test_the_token_goes_with_every_request_in_memory() -> None:
    async def handler(request: Request) -> Response:
        return json_response({"metadata": {"name": request.headers["authorization"]}})

    found = await Client(InMemory(handler, token="t")).get(Pod, "a", "x")
    assert found.metadata.name == "Bearer t"


async def test_a_watch_yields_typed_events_however_the_bytes_are_cut() -> None:
    line = json.dumps({"type": "ADDED", "object": CONFIG}).encode() + b"\n"

    async def pieces() -> AsyncIterator[bytes]:
        yield line[:10]
        yield line[10:] + line
        yield line

    found = [event async for event in Client(Scripted(Response(200, {}, pieces()))).watch(ConfigMap)]
    assert [(event.type, event.object.metadata.name) for event in found] == [("ADDED", "a")] * 3


async def test_an_error_event_is_raised() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
    with pytest.raises(Expired):
        async for _ in Client(Scripted(Response(200, {}, json.dumps(gone).encode() + b"\n"))).watch(ConfigMap):
            pass


async def test_writes_are_told_with_their_revision() -> None:
    told: list[Write] = []
    server = Scripted(json_response(CONFIG), json_response({"kind": "Status", "details": {"uid": "u1"}}))
    client = Client(server).telling(told.append)
    await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="x")))
    await client.delete(ConfigMap, "a", "x", uid="u1")
    assert told == [Write(ConfigMap, "x", "a", "u1", 7), Write(ConfigMap, "x", "a", "u1", 0, deleted=True)]
    assert json.loads(await server.asked[1].read())["preconditions"] == {"uid": "u1"}


async def test_an_apply_names_its_manager() -> None:
    server = Scripted(json_response(CONFIG))
    await Client(server).patch(ConfigMap, "a", "x", {"data": {}}, how="apply", field_manager="me", force=True)
    assert server.asked[0].query == "fieldManager=me&force=true"
    assert server.asked[0].headers["content-type"] == "application/apply-patch+yaml"
