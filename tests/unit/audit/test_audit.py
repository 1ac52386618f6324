"""Audit: what the policy asks to be written down is, and nothing else; no request waits for it."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.errors import Unauthorized
from kybern.apiserver.audit import log_file, webhook
from kybern.apiserver.audit.audit import Audit
from kybern.apiserver.audit.log_file import LogFile, Rotation
from kybern.apiserver.audit.policy import Level, Policy, PolicyError, decide, read_policy
from kybern.apiserver.audit.webhook import Webhook
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.client import Client
from kybern.web.http import Peer, PushedStream, Request, Response
from kybern.web.server import serve

JANE = User("jane", ("dev", "system:authenticated"), "u1", {"scope": ("all",)})
CONFIGMAPS = "/api/v1/namespaces/shop/configmaps"
EVERYTHING = b"rules: [{level: RequestResponse}]"


def policy(text: str) -> Policy:
    return read_policy(b"apiVersion: audit.k8s.io/v1\nkind: Policy\n" + text.encode())


class Kept:
    name = "kept"

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.full = False

    def put(self, line: bytes) -> bool:
        if not self.full:
            self.events.append(json.loads(line))
        return not self.full

    def stages(self) -> list[str]:
        return [event["stage"] for event in self.events]


class Allowing:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(attributes.verb != "delete", "because")


async def jane(request: Request) -> User:
    if request.headers.get("authorization") == "Bearer wrong":
        raise Unauthorized("Unauthorized")
    return JANE


class Api:
    def __init__(self, server: ApiServer, kept: Kept) -> None:
        self.server, self.kept = server, kept

    async def send(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        path, _, query = url.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.server(Request(method, path, query, named, body, Peer("10.1.2.3:4567")))


async def serving(rules: Policy) -> Api:
    clock, ids, kept = SystemClock(), Ids(1), Kept()
    machine = await open_machine(MemoryStore(), RESOURCES, clock, ids)
    audit = Audit(rules, [kept], clock, ids)
    server = ApiServer(
        machine,
        authenticate=jane,
        authorizer=Authorizers((Allowing(),)),
        audit=audit,
        impersonation=Impersonation(Authorizers((Allowing(),))),
    )
    return Api(server, kept)


MAP = b'{"metadata":{"name":"a","managedFields":[]},"data":{"key":"canary"}}'


async def test_a_write_is_told_of_twice_with_who_what_and_how_it_ended() -> None:
    api = await serving(policy("rules: [{level: RequestResponse}]"))
    answer = await api.send("POST", f"{CONFIGMAPS}?dryRun=All", MAP, user_agent="kubectl/1", audit_id="my-id")
    assert answer.headers["Audit-Id"] == "my-id"
    received, complete = api.kept.events
    assert received["stage"] == "RequestReceived" and "requestObject" not in received
    assert complete["auditID"] == received["auditID"] == "my-id"
    assert complete["user"] == {"username": "jane", "uid": "u1", "groups": ["dev", "system:authenticated"],
                                "extra": {"scope": ["all"]}}  # fmt: skip
    assert complete["sourceIPs"] == ["10.1.2.3"]
    assert complete["objectRef"] == {"resource": "configmaps", "namespace": "shop", "apiVersion": "v1"}
    assert (complete["verb"], complete["userAgent"]) == ("create", "kubectl/1")
    assert complete["requestURI"] == f"{CONFIGMAPS}?dryRun=All"
    assert complete["requestObject"]["data"] == {"key": "canary"}
    assert complete["responseObject"]["data"] == {"key": "canary"}
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["annotations"] == {
        "authorization.k8s.io/decision": "allow",
        "authorization.k8s.io/reason": "because",
    }
    assert complete["stageTimestamp"] >= complete["requestReceivedTimestamp"]


@pytest.mark.parametrize(
    ("level", "has"), [("Metadata", set()), ("Request", {"requestObject"}), ("RequestResponse", {"requestObject", "responseObject"})]
)  # fmt: skip
async def test_no_more_is_written_than_the_level_says(level: str, has: set[str]) -> None:
    api = await serving(policy(f"omitStages: [RequestReceived]\nrules: [{{level: {level}, verbs: [create]}}]"))
    await api.send("POST", CONFIGMAPS, MAP)
    await api.send("GET", f"{CONFIGMAPS}/a")
    [event] = api.kept.events
    assert {"requestObject", "responseObject"} & set(event) == has
    assert ("canary" in json.dumps(event)) is bool(has)


async def test_managed_fields_can_be_left_out() -> None:
    api = await serving(policy("omitManagedFields: true\nrules: [{level: RequestResponse}]"))
    await api.send("POST", CONFIGMAPS, MAP)
    await api.send("GET", CONFIGMAPS)
    assert "managedFields" not in json.dumps(api.kept.events)
    assert "items" in api.kept.events[-1]["responseObject"]


async def test_bodies_of_other_formats_are_written_as_json() -> None:
    api = await serving(policy("omitStages: [RequestReceived]\nrules: [{level: Request}]"))
    await api.send("POST", CONFIGMAPS, b"metadata: {name: y}\ndata: {a: b}", content_type="application/yaml")
    await api.send("POST", CONFIGMAPS, b"{not json", content_type="application/json")
    assert api.kept.events[0]["requestObject"]["data"] == {"a": "b"}
    assert "requestObject" not in api.kept.events[1]


async def test_a_refusal_is_told_with_its_reason() -> None:
    api = await serving(policy("rules: [{level: Metadata}]"))
    answer = await api.send("DELETE", f"{CONFIGMAPS}/a")
    event = api.kept.events[-1]
    assert (answer.status, event["responseStatus"]["reason"]) == (403, "Forbidden")
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"


async def test_a_request_that_fails_authentication_is_told_of_without_its_token() -> None:
    api = await serving(policy("rules: [{level: RequestResponse}]"))
    answer = await api.send("GET", CONFIGMAPS, authorization="Bearer wrong")
    [event] = api.kept.events
    assert (answer.status, event["stage"], event["responseStatus"]["code"]) == (401, "ResponseStarted", 401)
    assert "wrong" not in json.dumps(event)


async def test_who_acts_as_somebody_else_is_named_and_the_policy_goes_by_them() -> None:
    api = await serving(policy("rules: [{level: Metadata, users: [jane]}]"))
    await api.send("GET", CONFIGMAPS, impersonate_user="bob")
    event = api.kept.events[-1]
    assert (event["user"]["username"], event["impersonatedUser"]["username"]) == ("jane", "bob")


async def test_a_watch_is_complete_when_it_ends() -> None:
    api = await serving(policy("rules: [{level: RequestResponse}]"))
    answer = await api.send("GET", f"{CONFIGMAPS}?watch=1&timeoutSeconds=1")
    assert api.kept.stages() == ["RequestReceived", "ResponseStarted"]
    await answer.read()
    assert api.kept.stages() == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_a_watch_that_is_followed_is_still_pushed_to_its_connection() -> None:
    api = await serving(policy("rules: [{level: Metadata}]"))
    answer = await api.send("GET", f"{CONFIGMAPS}?watch=1")
    sent: list[bytes] = []
    assert isinstance(answer.body, PushedStream)
    answer.body.push = lambda piece: sent.append(piece) is None
    reading = asyncio.ensure_future(anext(answer.body))
    await asyncio.sleep(0.01)
    await api.send("POST", CONFIGMAPS, b'{"metadata":{"name":"a"}}')
    assert len(sent) == 1
    reading.cancel()


async def test_an_event_that_is_too_long_goes_without_its_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.audit.audit.EVENT_BYTES_MAX", 2000)
    api = await serving(policy("rules: [{level: RequestResponse}]"))
    await api.send("POST", CONFIGMAPS, b'{"metadata":{"name":"a"},"data":{"key":"%b"}}' % (b"x" * 3000))
    event = api.kept.events[-1]
    assert event["annotations"]["audit.k8s.io/truncated"] == "true"
    assert "requestObject" not in event and "responseObject" not in event


async def test_a_sink_without_room_loses_events_and_holds_up_nobody() -> None:
    api = await serving(policy("rules: [{level: Metadata}]"))
    api.kept.full = True
    assert (await api.send("GET", CONFIGMAPS)).status == 200
    text = (await (await api.send("GET", "/metrics")).read()).decode()
    assert 'apiserver_audit_error_total{plugin="kept"} 3.0' in text
    assert "apiserver_audit_event_total 3.0" in text


ASKED = Attributes(user=JANE, verb="get", resource="pods", subresource="log", namespace="shop", name="web", path="/x")
PATH = Attributes(user=JANE, verb="get", path="/healthz/ping")


@pytest.mark.parametrize(
    ("rule", "attributes", "matches"),
    [
        ("users: [jane]", ASKED, True),
        ("users: [bob]", ASKED, False),
        ("userGroups: [ops, dev]", ASKED, True),
        ("userGroups: [ops]", ASKED, False),
        ("verbs: [list]", ASKED, False),
        ("namespaces: [shop]", ASKED, True),
        ("namespaces: [other]", ASKED, False),
        ("namespaces: ['']", ASKED, False),
        ("namespaces: [shop]", PATH, False),
        ("resources: [{group: ''}]", ASKED, True),
        ("resources: [{group: apps}]", ASKED, False),
        ("resources: [{group: '', resources: [pods]}]", ASKED, False),
        ("resources: [{group: '', resources: [pods/log]}]", ASKED, True),
        ("resources: [{group: '', resources: ['pods/*']}]", ASKED, True),
        ("resources: [{group: '', resources: ['*/log']}]", ASKED, True),
        ("resources: [{group: '', resources: ['*']}]", ASKED, True),
        ("resources: [{group: '', resources: ['pods/*'], resourceNames: [web]}]", ASKED, True),
        ("resources: [{group: '', resources: ['pods/*'], resourceNames: [db]}]", ASKED, False),
        ("nonResourceURLs: ['/healthz*']", PATH, True),
        ("nonResourceURLs: ['/healthz']", PATH, False),
        ("nonResourceURLs: ['*']", PATH, True),
        ("nonResourceURLs: ['*']", ASKED, False),
    ],
)
def test_a_rule_fits_what_upstreams_fits(rule: str, attributes: Attributes, matches: bool) -> None:
    found = decide(policy(f"rules: [{{level: Metadata, {rule}}}]"), attributes)
    assert found.level is (Level.METADATA if matches else Level.NONE)


def test_the_first_rule_that_fits_decides_and_adds_its_omitted_stages() -> None:
    rules = policy(
        "omitStages: [Panic]\nrules: [{level: None, verbs: [list]}, {level: Request, omitStages: [RequestReceived]}, {level: Metadata}]"
    )
    found = decide(rules, ASKED)
    assert (found.level, found.omit_stages) == (Level.REQUEST, {"Panic", "RequestReceived"})


@pytest.mark.parametrize(
    "text",
    [
        "rules: []",
        "rules: [{level: Everything}]",
        "rules: [{level: Metadata, omitStages: [Soon]}]",
        "rules: [{level: Metadata, nonResourceURLs: [healthz]}]",
        "rules: [{level: Metadata, nonResourceURLs: ['/a*b']}]",
        "rules: [{level: Metadata, nonResourceURLs: [/a], namespaces: [b]}]",
        "rules: [{}]",
        "kind: Pod",
        "rules: [",
        "[]",
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        read_policy(text.encode())


# --- sinks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    mask = os.umask(0)
    yield tmp_path / "audit.log"
    os.umask(mask)


def test_events_are_lines_of_a_file_that_only_its_owner_reads(path: Path) -> None:
    file = LogFile(path, SystemClock())
    assert all(file.put(b'{"n":%d}\n' % number) for number in range(1000))
    file.close()
    assert [json.loads(line)["n"] for line in path.read_bytes().splitlines()] == list(range(1000))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_is_put_aside_and_only_so_many_are_kept(path: Path) -> None:
    file = LogFile(path, SystemClock(), Rotation(bytes_max=1000, files_max=2))
    for number in range(400):
        while not file.put(b"%099d\n" % number):
            pass
        if number % 5 == 4:  # so that not all of them are one write
            while not file._waiting.empty():
                os.sched_yield()
    file.close()
    aside = sorted(path.parent.glob("audit-*.log"))
    assert len(aside) == 2
    lines = b"".join(one.read_bytes() for one in [*aside, path]).splitlines()
    assert [int(line) for line in lines] == list(range(400 - len(lines), 400))


def test_what_a_slow_disk_leaves_waiting_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "WAITING_MAX", 5)
    monkeypatch.setattr(LogFile, "_write", lambda self: None)
    file = LogFile(path, SystemClock())
    assert [file.put(b"x\n") for _ in range(7)] == [True] * 5 + [False] * 2


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers = [200]
        self.arrived = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.bodies.append(json.loads(await request.read()))
        self.arrived.set()
        return Response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    yield Receiver()


async def delivered(receiver: Receiver, lines: list[bytes], seconds: float = 0.01) -> Webhook:
    server = await serve(receiver)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        sink = Webhook(client, "/hook", Hasty(), seconds)
        for line in lines:
            sink.put(line)
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(sink.run())
                while sum(len(body["items"]) for body in receiver.bodies) + sink.given_up < len(lines):
                    await receiver.arrived.wait()
                    receiver.arrived.clear()
                    await asyncio.sleep(0.01)
                running.cancel()
    await server.close()
    return sink


async def test_a_webhook_gets_events_in_batches(receiver: Receiver) -> None:
    await delivered(receiver, [b'{"n":%d}\n' % number for number in range(900)])
    assert [len(body["items"]) for body in receiver.bodies] == [400, 400, 100]
    assert receiver.bodies[0]["kind"] == "EventList"


async def test_a_webhook_that_fails_for_a_while_gets_the_batch_again(receiver: Receiver) -> None:
    receiver.answers = [500, 503, 200]
    sink = await delivered(receiver, [b'{"n":1}\n'] * 3)
    assert ([len(body["items"]) for body in receiver.bodies], sink.given_up) == ([3, 3, 3], 0)


async def test_a_webhook_that_only_fails_loses_the_batch_and_nothing_grows(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [400]
    sink = await delivered(receiver, [b'{"n":1}\n'])
    assert sink.given_up == 1
    monkeypatch.setattr(webhook, "WAITING_MAX", 2)
    assert [sink.put(b"x") for _ in range(3)] == [True, True, False]
