"""Several authorizers are one: the first that allows or denies decides, wherever in the order others are asked."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.apiserver.auth.access_webhook import AccessSettings, AccessWebhook
from kybern.apiserver.auth.authorizers import Authorizers, decided
from kybern.apiserver.auth.remote import NoAnswer
from kybern.apiserver.request import Attributes, Decision, User
from kybern.web.http import Response

ASKED = Attributes(user=User("jane"), verb="get", version="v1", resource="pods", namespace="x", name="p")
YES, NO, NEVER = Decision(True, "yes"), Decision(False, "no"), Decision(False, "never", denied=True)


@dataclass
class Local:
    decision: Decision
    asked: list[Attributes] = field(default_factory=list)

    def decide(self, attributes: Attributes) -> Decision:
        self.asked.append(attributes)
        return self.decision


@dataclass
class Remote:
    decision: Decision
    asked: list[Attributes] = field(default_factory=list)

    async def ask(self, attributes: Attributes) -> Decision:
        self.asked.append(attributes)
        return self.decision


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ((Local(NO), Local(YES)), YES),
        ((Local(NO), Local(NO)), Decision(False, "no, no")),
        ((Local(NO), Remote(YES)), YES),
        ((Remote(NEVER), Local(YES)), NEVER),
        ((Remote(NO), Local(YES)), YES),
        ((Local(NO), Remote(NEVER), Remote(YES)), NEVER),
        ((Remote(NO), Remote(NO)), Decision(False, "no, no")),
        ((), Decision(False)),
    ],
)
async def test_the_first_that_has_an_opinion_decides(members: Any, expected: Decision) -> None:
    assert await decided(Authorizers(members), ASKED) == expected


async def test_nobody_after_the_one_who_decides_is_asked() -> None:
    first, second = Remote(YES), Remote(YES)
    assert (await decided(Authorizers((first, second)), ASKED)).allowed
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_what_memory_can_decide_waits_for_nobody() -> None:
    remote = Remote(NO)
    assert Authorizers((Local(YES), remote)).decide(ASKED) == YES
    assert Authorizers((Local(NO), remote)).decide(ASKED) is None
    assert Authorizers((remote, Local(YES))).decide(ASKED) is None
    assert remote.asked == []


async def test_another_order_counts_from_the_next_decision_on() -> None:
    authorizers = Authorizers((Local(YES),))
    authorizers.use((Local(NEVER), Local(YES)))
    assert await decided(authorizers, ASKED) == NEVER


class Server:
    def __init__(self, status: Any) -> None:
        self.status, self.asked = status, 0

    async def send(self, request: Any, timeout: float) -> Any:
        self.asked += 1
        if self.status is None:
            return Response(500)
        return Response(200, {}, json.dumps({"kind": "SubjectAccessReview", "status": self.status}).encode())


def webhook(status: Any, **settings: Any) -> tuple[AccessWebhook, Server]:
    server = Server(status)
    return AccessWebhook(server, "/", LoopClock(), AccessSettings(**settings)), server  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"allowed": True, "reason": "r"}, Decision(True, "r")),
        ({"allowed": False}, Decision(False)),
        ({"denied": True, "reason": "r"}, Decision(False, "r", denied=True)),
        ({"allowed": True, "denied": True}, Decision(False, "", denied=True)),
    ],
)
async def test_a_webhook_says_yes_no_or_nothing(status: Any, expected: Decision) -> None:
    assert await webhook(status)[0].ask(ASKED) == expected


async def test_that_a_webhook_fails_means_what_is_configured() -> None:
    assert await webhook(None)[0].ask(ASKED) == Decision(False)
    assert await webhook(None, failure_denies=True)[0].ask(ASKED) == Decision(False, denied=True)


async def test_a_webhook_is_asked_only_about_what_concerns_it() -> None:
    async def about_secrets(spec: Any) -> bool:
        return bool(spec["resourceAttributes"]["resource"] == "secrets")

    async def broken(spec: Any) -> bool:
        raise NoAnswer("no such key")

    asked, server = webhook({"denied": True}, concerns=about_secrets)
    assert await asked.ask(ASKED) == Decision(False)
    assert server.asked == 0
    assert (await webhook({"allowed": True}, concerns=broken, failure_denies=True)[0].ask(ASKED)).denied


async def test_no_verdict_is_remembered_where_none_shall_be() -> None:
    asked, server = webhook({"allowed": True}, allowed_seconds=0.0)
    for _ in range(3):
        await asked.ask(ASKED)
    assert server.asked == 3
