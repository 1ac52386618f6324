"""Hostile webhooks (reliability row A7): none of them holds the server up, gets at it, or gets through.

Each defence has a mutant below: with the defence taken out, the attack must get through, or the test of it proves nothing.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from admitted_api import AdmittedApi
from webhooks import answered, ca_bundle, hook_server, never, patched, review_of

from kybern.api.core_v1 import ConfigMap
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.webhooks import call, mutating, review
from kybern.apiserver.callouts import callouts, places
from kybern.web.http import Request, Response
from kybern.web.pki import create_ca, issue
from kybern.web.server import serve
from kybern.web.tls import server_context

MAPS = "/api/v1/namespaces/default/configmaps"
MAP = {"metadata": {"name": "a"}, "data": {"k": "v"}}

Change = Callable[[Any], None]


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1_000_000)


def answer_with(**changes: Any) -> Any:
    async def answer(request: Request) -> Response:
        body = json.loads(answered(request).body)  # type: ignore[arg-type]
        body.update({key: value for key, value in changes.items() if key != "response"})
        body["response"].update(changes.get("response", {}))
        return Response(200, {}, json.dumps(body).encode())

    return answer


def raw(body: bytes, status: int = 200, **headers: str) -> Any:
    async def answer(request: Request) -> Response:
        return Response(status, headers, body)

    return answer


def patching(*operations: Any) -> Any:
    async def answer(request: Request) -> Response:
        return patched(request, *operations)

    return answer


async def flood(request: Request) -> Response:
    return Response(200, {}, endless())


HOSTILE: dict[str, tuple[str, Any, str]] = {
    "server errors": ("Mutating", raw(b"oops", 500), "an error on the server"),
    "a redirect": ("Mutating", raw(b"", 307, Location="https://127.0.0.1:1/"), "status code 307"),
    "an answer without end": ("Mutating", flood, "larger than"),
    "no JSON": ("Mutating", raw(b"<html>"), "couldn't decode"),
    "deep JSON": ("Mutating", raw(b"[" * 1_000_000), "couldn't decode"),
    "deep JSON within": ("Mutating", raw(b'{"x":' + b"[" * 1_000_000), "couldn't decode"),
    "a deep patch": (
        "Mutating",
        answer_with(response={"patch": base64.b64encode(b"[" * 100_000).decode(), "patchType": "JSONPatch"}),
        "couldn't decode the patch",
    ),
    "an empty answer": ("Mutating", raw(b""), "couldn't decode"),
    "no response": ("Mutating", raw(b"{}"), "webhook response was absent"),
    "another request's answer": ("Mutating", answer_with(response={"uid": "other"}), "expected response.uid="),
    "an answer of another version": ("Mutating", answer_with(apiVersion="admission.k8s.io/v9"), "expected webhook response of"),
    "an answer of another kind": ("Mutating", answer_with(kind="ConfigMap"), "expected webhook response of"),
    "types that are none": ("Mutating", answer_with(response={"allowed": "yes"}), "couldn't decode"),
    "a patch without a type": ("Mutating", answer_with(response={"patch": "W10="}), "not response.patchType"),
    "a patch of another type": (
        "Mutating", answer_with(response={"patch": "W10=", "patchType": "Merge"}), "invalid response.patchType",
    ),
    "a patch that is no base64": (
        "Mutating", answer_with(response={"patch": "!!", "patchType": "JSONPatch"}), "couldn't decode the patch",
    ),
    "a patch that is no patch": (
        "Mutating",
        answer_with(response={"patch": base64.b64encode(b'{"a":1}').decode(), "patchType": "JSONPatch"}),
        "cannot unmarshal",
    ),
    "a patch of what is not there": ("Mutating", patching({"op": "remove", "path": "/nope"}), "Internal error"),
    "a patch of too many operations": (
        "Mutating", patching(*[{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001), "maximum operations",
    ),
    "a patch to a number": ("Mutating", patching({"op": "replace", "path": "", "value": 7}), "no object"),
    "a patch to another kind": ("Mutating", patching({"op": "replace", "path": "/kind", "value": "Secret"}), "changed the object's kind"),
    "a patch to another name": ("Mutating", patching({"op": "replace", "path": "/metadata/name", "value": "b"}), "metadata.name may not be changed"),
    "a patch to another namespace": ("Mutating", patching({"op": "replace", "path": "/metadata/namespace", "value": "other"}), "metadata.namespace may not be changed"),
    "a patch without metadata": ("Mutating", patching({"op": "remove", "path": "/metadata"}), "metadata.name may not be changed"),
    "a patch that cannot be read": (
        "Mutating", patching({"op": "replace", "path": "/data", "value": 7}), "cannot be read",
    ),
    "a patch by who may only look": (
        "Validating", patching({"op": "add", "path": "/data/x", "value": "y"}), "may not return response.patch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_fails_closed_and_changes_nothing(
    api: AdmittedApi, hook: Any, install: Any, name: str
) -> None:
    kind, answer, words = HOSTILE[name]
    async with hook_server(answer) as hooks:
        await install(kind, hook(hooks.client_config()))
        refused = await api.post(MAPS, MAP)
    assert (refused.status, refused.body["kind"]) == (500, "Status")
    assert words in refused.message and len(refused.message) < 3000
    assert (await api.get(f"{MAPS}/a")).status == 404


@pytest.mark.parametrize("name", [name for name in HOSTILE if "patch" not in name])
async def test_a_hostile_answer_fails_open_where_that_is_asked_for(
    api: AdmittedApi, hook: Any, install: Any, name: str
) -> None:
    kind, answer, _ = HOSTILE[name]
    async with hook_server(answer) as hooks:
        await install(kind, hook(hooks.client_config(), failurePolicy="Ignore"))
        assert (await api.post(MAPS, MAP)).status == 201


async def test_a_webhook_cannot_forge_what_the_server_says_of_an_object(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    forged = {
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "resourceVersion": "7",
        "generation": 9,
        "selfLink": "/x",
    }
    operations = [{"op": "add", "path": f"/metadata/{key}", "value": value} for key, value in forged.items()]
    async with hook_server(patching(*operations)) as hooks:
        await install("Mutating", hook(hooks.client_config()))
        made = await api.made(MAPS, MAP)
    assert {key: made["metadata"].get(key) for key in forged if made["metadata"].get(key) == forged[key]} == {}


async def test_a_webhook_on_a_status_changes_only_the_status(api: AdmittedApi, hook: Any, install: Any) -> None:
    claims = "/api/v1/namespaces/default/pods"
    spoil = patching(
        {"op": "replace", "path": "/spec/containers/0/image", "value": "evil"},
        {"op": "add", "path": "/status/message", "value": "seen"},
    )
    async with hook_server(spoil) as hooks:
        await api.made(claims, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "good"}]}})
        await install("Mutating", hook(hooks.client_config(), rule={"resources": ["pods/status"]}))
        answer = await api.patch(f"{claims}/p/status", {"status": {"phase": "Running"}})
    assert answer.status == 200
    assert answer.body["spec"]["containers"][0]["image"] == "good"
    assert (answer.body["status"]["phase"], answer.body["status"]["message"]) == ("Running", "seen")


async def test_many_slow_webhooks_hold_up_only_who_asked(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(never) as hooks:
        slow = [hook(hooks.client_config(), name=f"h{n}.example.com", timeoutSeconds=1) for n in range(30)]
        await install("Validating", *slow)
        waiting = asyncio.create_task(api.post(MAPS, MAP))
        for _ in range(20):
            assert (await api.get("/api/v1/namespaces/default")).status == 200
        assert not waiting.done()
        refused = await waiting
    assert refused.message.count("context deadline exceeded") == 30


async def test_fifty_webhooks_in_a_row_are_asked_and_all_count(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def count(request: Request) -> Response:
        seen = int(review_of(request)["request"]["object"]["data"].get("count", "0"))
        return patched(request, {"op": "add", "path": "/data/count", "value": str(seen + 1)})

    async with hook_server(count) as hooks:
        await install("Mutating", *(hook(hooks.client_config(), name=f"h{n}.example.com") for n in range(50)))
        assert (await api.made(MAPS, MAP))["data"]["count"] == "50"


async def test_two_webhooks_that_undo_each_other_are_called_twice_at_most(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    async def flip(request: Request) -> Response:
        return patched(request, {"op": "replace", "path": "/data/k", "value": request.path})

    async with hook_server(flip) as hooks:
        names = ("one", "two")
        webhooks = (
            hook(hooks.client_config(f"/{n}"), name=f"{n}.example.com", reinvocationPolicy="IfNeeded") for n in names
        )
        await install("Mutating", *webhooks)
        await api.made(MAPS, MAP)
    assert len(hooks.seen) <= 4


async def test_a_webhook_that_leads_back_to_us_is_no_loop(api: AdmittedApi, hook: Any, install: Any) -> None:
    """The question arrives as a request like any other: without a user's rights, and of no kind that could be stored."""
    authority = create_ca("api", 1_700_000_000.0, days=36500)
    pair = issue(authority, "api", now=1_700_000_000.0, ips=["127.0.0.1"], days=36500)
    asked: list[str] = []

    async def us(request: Request) -> Response:
        asked.append(request.path)
        return await api.server(request)

    server = await serve(us, ssl=server_context(pair.certificate, pair.key))
    config = {
        "url": f"https://127.0.0.1:{server.port}{MAPS}",
        "caBundle": base64.b64encode(authority.certificate).decode(),
    }
    await install("Mutating", hook(config))
    refused = await api.post(MAPS, MAP)
    await server.close(grace_seconds=0)
    assert refused.status == 500
    assert asked == [MAPS], "once, and what came of it asked nobody"


async def test_no_token_of_the_client_goes_along(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def allow(request: Request) -> Response:
        return answered(request)

    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config()))
        await api.post(MAPS, MAP, authorization="Bearer secret", cookie="secret=1", x_secret="secret")
    assert all("secret" not in f"{name}{value}" for name, value in hooks.seen[0].headers.items())
    assert "Bearer" not in json.dumps(hooks.reviews)


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_the_server_itself_is_not_held_up_by_a_broken_webhook(
    api: AdmittedApi, hook: Any, install: Any, kind: str
) -> None:
    await install(kind, hook({"url": "https://127.0.0.1:1/"}, rule={"resources": ["*/*"]}))
    made = await api.objects.create(ConfigMap(metadata=ObjectMeta(name="own", namespace="default")))
    assert made.metadata.uid
    assert (await api.post(MAPS, MAP)).status == 500


# --- the mutants ------------------------------------------------------------------------------------------------------


def no_check_of_the_answer(monkeypatch: Any) -> None:
    monkeypatch.setattr(review, "check_v1", lambda *args, **kwargs: None)


def no_check_of_the_kind(monkeypatch: Any) -> None:
    async def unchecked(hook: Any, versioned: Any, document: Any, objects: Any) -> None:
        await versioned.change(document, objects)

    monkeypatch.setattr(mutating, "change", unchecked)


MUTANTS: dict[str, tuple[str, Change]] = {
    "another request's answer": ("Mutating", no_check_of_the_answer),
    "a patch by who may only look": ("Validating", no_check_of_the_answer),
    "a patch to another kind": ("Mutating", no_check_of_the_kind),
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_without_its_defence_an_attack_gets_through(
    api: AdmittedApi, hook: Any, install: Any, monkeypatch: Any, name: str
) -> None:
    kind, remove = MUTANTS[name]
    remove(monkeypatch)
    async with hook_server(HOSTILE[name][1]) as hooks:
        await install(kind, hook(hooks.client_config()))
        assert (await api.post(MAPS, MAP)).status == 201


async def test_without_the_bound_a_large_answer_is_taken(
    api: AdmittedApi, hook: Any, install: Any, monkeypatch: Any
) -> None:
    async def large(request: Request) -> Response:
        return answered(request, auditAnnotations={"x": "x" * 200_000})

    async with hook_server(large) as hooks:
        await install("Validating", hook(hooks.client_config()))
        monkeypatch.setattr(call, "ANSWER_BYTES_MAX", 100_000)
        assert "larger than 100000 bytes" in (await api.post(MAPS, MAP)).message
        monkeypatch.setattr(call, "ANSWER_BYTES_MAX", 1_000_000)
        assert (await api.post(MAPS, MAP)).status == 201


async def test_without_the_exemption_a_broken_webhook_locks_everybody_out(
    api: AdmittedApi, hook: Any, install: Any, monkeypatch: Any
) -> None:
    await install("Validating", hook({"url": "https://127.0.0.1:1/"}, rule={"resources": ["*/*"]}))
    at = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hooks"
    monkeypatch.setattr(Matcher, "is_exempt", lambda self, admission: False)
    assert (await api.delete(at)).status == 500
    monkeypatch.undo()
    assert (await api.delete(at)).status == 200


async def test_without_the_check_of_addresses_the_link_would_be_called(
    api: AdmittedApi, hook: Any, install: Any, monkeypatch: Any
) -> None:
    config = {"url": "https://169.254.169.254:1/", "caBundle": ca_bundle()}
    await install("Validating", hook(config, timeoutSeconds=1))
    assert "address not allowed" in (await api.post(MAPS, MAP)).message
    monkeypatch.setattr(places, "is_own", lambda address: False)
    assert "address not allowed" not in (await api.post(MAPS, MAP)).message


async def test_without_verification_anybody_could_answer(
    api: AdmittedApi, hook: Any, install: Any, monkeypatch: Any
) -> None:
    async def allow(request: Request) -> Response:
        return answered(request)

    other = base64.b64encode(create_ca("other", 1_700_000_000.0, days=36500).certificate).decode()
    async with hook_server(allow) as hooks:
        await install("Validating", hook({**hooks.client_config(), "caBundle": other}))
        assert "failed to verify certificate" in (await api.post(MAPS, MAP)).message
        unverified = callouts.client_context(verify=False)
        monkeypatch.setattr(callouts, "client_context", lambda **_: unverified)
        api.inputs.callouts.close()
        assert (await api.post(MAPS, MAP)).status == 201
