"""Call-outs to webhooks: real HTTPS on loopback, servers that are slow, large, lying or elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest
from webhooks import HookServer, ca_bundle, hook_server, never

from kybern.api.admissionregistration_v1 import WebhookClientConfig
from kybern.api.core_v1 import Endpoints, Service
from kybern.apiserver.callouts.callouts import CalloutFailed, Callouts
from kybern.apiserver.callouts.places import Unreachable, place_of
from kybern.web.http import Request, Response
from kybern.web.pki import create_ca

OTHER_AUTHORITY = create_ca("somebody else", 1_700_000_000.0, days=36500)


class Nothing:
    """A cluster with one Service and its endpoints, or none."""

    def __init__(self, *found: Any) -> None:
        self.found = found

    def get(self, type: type[Any], name: str, namespace: str = "") -> Any:
        return next((each for each in self.found if isinstance(each, type)), None)


def decoded(type_: type[Any], found: Any) -> Any:
    return msgspec.convert(found, type_)


def config_of(found: dict[str, Any]) -> WebhookClientConfig:
    return msgspec.convert(found, WebhookClientConfig)


SERVICE = decoded(
    Service, {"metadata": {"name": "hook", "namespace": "ns"}, "spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
)


def endpoints(*addresses: str) -> Any:
    subset = {"addresses": [{"ip": address} for address in addresses], "ports": [{"port": 8443}]}
    return decoded(Endpoints, {"metadata": {"name": "hook", "namespace": "ns"}, "subsets": [subset]})


async def answer(request: Request) -> Response:
    match request.path:
        case "/slow":
            return await never(request)
        case "/moved":
            return Response(307, {"Location": "/elsewhere"})
        case "/broken":
            return Response(500, {}, b"out of order")
        case "/huge":
            return Response(200, {}, endless())
        case "/huge-refusal":
            return Response(500, {}, endless())
        case "/trickling":
            return Response(200, {}, trickling())
    return Response(200, {}, json.dumps(dict(request.headers)).encode())


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1_000_000)


async def trickling() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


@pytest.fixture
async def hooks() -> AsyncIterator[HookServer]:
    async with hook_server(answer) as server:
        yield server


@pytest.fixture
async def callouts() -> AsyncIterator[Callouts]:
    made = Callouts(Nothing(), Random(1))  # type: ignore[arg-type]
    yield made
    made.close()


async def post(callouts: Callouts, config: dict[str, Any], seconds: int = 5) -> bytes:
    return await callouts.post(config_of(config), b'{"a":1}', timeout_seconds=seconds)


async def failure(callouts: Callouts, config: dict[str, Any], seconds: int = 5) -> str:
    with pytest.raises(CalloutFailed) as failed:
        await post(callouts, config, seconds)
    return str(failed.value)


async def test_what_is_sent_is_ours_alone(callouts: Callouts, hooks: HookServer) -> None:
    sent = json.loads(await post(callouts, hooks.client_config("/check?a=b")))
    assert set(sent) == {"host", "content-type", "accept", "user-agent", "content-length"}
    assert (hooks.seen[0].query, hooks.reviews) == ("a=b&timeout=5s", [{"a": 1}])


async def test_the_next_call_uses_the_same_connection(callouts: Callouts, hooks: HookServer) -> None:
    for _ in range(3):
        await post(callouts, hooks.client_config())
    assert len({request.peer.address for request in hooks.seen}) == 1


async def test_a_kept_connection_that_was_closed_is_no_failure(callouts: Callouts, hooks: HookServer) -> None:
    await post(callouts, hooks.client_config())
    (client,) = callouts.clients.values()
    for connection in client.idle:
        connection.transport.abort()
    await post(callouts, hooks.client_config())
    assert len(hooks.seen) == 2


async def test_a_slow_server_is_given_up_on_when_its_time_is_over(callouts: Callouts, hooks: HookServer) -> None:
    told = await failure(callouts, hooks.client_config("/slow"), 1)
    assert told == f'Post "https://127.0.0.1:{hooks.port}/slow?timeout=1s": context deadline exceeded'


async def test_a_server_that_never_finishes_its_answer_is_given_up_on(callouts: Callouts, hooks: HookServer) -> None:
    assert (await failure(callouts, hooks.client_config("/trickling"), 1)).endswith("context deadline exceeded")
    (client,) = callouts.clients.values()
    assert [connection for connection in client.open if not connection.transport.is_closing()] == []


async def test_a_redirect_is_not_followed(callouts: Callouts, hooks: HookServer) -> None:
    told = await failure(callouts, hooks.client_config("/moved"))
    assert told.endswith("the server responded with the status code 307 but did not return more information")
    assert [request.path for request in hooks.seen] == ["/moved"]


async def test_a_refusal_is_told_in_upstreams_words(callouts: Callouts, hooks: HookServer) -> None:
    told = await failure(callouts, hooks.client_config("/broken"))
    assert told.endswith('an error on the server ("out of order") has prevented the request from succeeding')


@pytest.mark.parametrize("path", ["/huge", "/huge-refusal"])
async def test_an_answer_without_end_is_cut(callouts: Callouts, hooks: HookServer, path: str) -> None:
    told = await failure(callouts, hooks.client_config(path))
    assert len(told) < 2000
    (client,) = callouts.clients.values()
    assert [connection for connection in client.open if not connection.transport.is_closing()] == []
    assert client.idle == []


async def test_a_certificate_of_another_authority_is_refused(callouts: Callouts, hooks: HookServer) -> None:
    import base64

    config = {**hooks.client_config(), "caBundle": base64.b64encode(OTHER_AUTHORITY.certificate).decode()}
    assert "tls: failed to verify certificate: x509:" in await failure(callouts, config)
    assert hooks.seen == []


async def test_a_certificate_for_another_name_is_refused(callouts: Callouts) -> None:
    async with hook_server(answer, "hook.ns.svc") as hooks:
        assert "tls: failed to verify certificate: x509:" in await failure(callouts, hooks.client_config())
        assert hooks.seen == []


async def test_without_a_bundle_only_the_machines_authorities_are_trusted(
    callouts: Callouts, hooks: HookServer
) -> None:
    assert "tls: failed to verify" in await failure(callouts, {"url": f"https://127.0.0.1:{hooks.port}/"})


async def test_nobody_there_is_told_as_such(callouts: Callouts) -> None:
    told = await failure(callouts, {"url": "https://127.0.0.1:1/", "caBundle": ca_bundle()})
    assert told == 'Post "https://127.0.0.1:1/?timeout=5s": dial tcp 127.0.0.1:1: connect: connection refused'


@pytest.mark.parametrize(
    "url",
    ["https://169.254.169.254/", "https://[fe80::1]/", "https://0.0.0.0/", "https://2852039166/", "https://224.0.0.1/"],
)
async def test_addresses_of_the_link_are_not_called(callouts: Callouts, url: str) -> None:
    assert "address not allowed" in await failure(callouts, {"url": url, "caBundle": ca_bundle()})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://user@127.0.0.1/", "https://h/#x", "ftp://x", "https://h:x/"]
)
async def test_what_is_no_address_of_an_https_server_is_not_called(callouts: Callouts, url: str) -> None:
    assert "no URL" in await failure(callouts, {"url": url})


def test_a_service_leads_to_an_endpoint_of_it_under_its_own_name() -> None:
    config = config_of({"service": {"name": "hook", "namespace": "ns", "path": "/x", "port": 443}})
    place = place_of(config, Nothing(SERVICE, endpoints("10.1.2.3")), Random(1))  # type: ignore[arg-type]
    assert (place.host, place.port, place.name) == ("10.1.2.3", 8443, "hook.ns.svc")
    assert place.url == "https://hook.ns.svc:443/x"


@pytest.mark.parametrize(
    ("found", "port", "why"),
    [
        ((), 443, 'service "hook" not found'),
        ((SERVICE,), 443, 'no endpoints available for service "hook"'),
        ((SERVICE, endpoints("10.1.2.3")), 8443, 'no service port 8443 found for service "hook"'),
        ((SERVICE, endpoints("127.0.0.1")), 443, 'no endpoints available for service "hook"'),
        ((SERVICE, endpoints("169.254.169.254")), 443, 'no endpoints available for service "hook"'),
    ],
)
def test_a_service_without_a_place_to_call_says_so(found: tuple[Any, ...], port: int, why: str) -> None:
    config = config_of({"service": {"name": "hook", "namespace": "ns", "port": port}})
    with pytest.raises(Unreachable) as failed:
        place_of(config, Nothing(*found), Random(1))  # type: ignore[arg-type]
    assert str(failed.value) == why


async def test_many_places_do_not_keep_many_connections(callouts: Callouts, hooks: HookServer) -> None:
    for number in range(70):
        await post(callouts, {**hooks.client_config(), "url": f"https://127.0.0.1:{hooks.port}/{number}"})
    assert len(callouts.clients) == 1
    assert sum(len(client.open) for client in callouts.clients.values()) == 1


async def test_calls_at_once_each_get_their_answer(callouts: Callouts, hooks: HookServer) -> None:
    answers = await asyncio.gather(*(post(callouts, hooks.client_config(f"/{n}")) for n in range(20)))
    assert len(answers) == 20
    (client,) = callouts.clients.values()
    assert len(client.idle) <= 4
