"""Flow control as clients meet it: turns, refusals, headers, and the configuration in the API."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Namespace
from kybern.api.errors import Invalid
from kybern.api.flowcontrol_v1 import FlowSchema, PriorityLevelConfiguration
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.bootstrap.flowcontrol import ensure_flow_control
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.http import Request, Response

PODS, LEASES = "/api/v1/namespaces/default/pods", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
GROUPS = {
    "flood": ("system:serviceaccounts", "system:authenticated"),
    "other": ("system:serviceaccounts", "system:authenticated"),
    "node": ("system:nodes", "system:authenticated"),
    "admin": ("system:masters", "system:authenticated"),
}


async def by_name(request: Request) -> User:
    name = request.headers["user"]
    return User(name, GROUPS[name])


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


class Served:
    def __init__(self, server: ApiServer, objects: ClusterObjects, control: FlowControl) -> None:
        self.server, self.objects, self.control = server, objects, control
        self.order: list[str] = []

    async def send(self, user: str, method: str, path: str, body: bytes = b"") -> Response:
        path, _, query = path.partition("?")
        response = await self.server(Request(method, path, query, {"user": user}, body))
        self.order.append(f"{user} {response.status}")
        return response

    async def metric(self, name: str) -> dict[str, float]:
        text = (await (await self.send("admin", "GET", "/metrics")).read()).decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
        return {labels.removeprefix(name): float(value) for labels, _, value in lines}


async def served(seats: int) -> Served:
    store, clock = MemoryStore(), SystemClock()
    machine = await open_machine(store, RESOURCES, clock, Ids(1))
    objects = ClusterObjects(machine)
    control = FlowControl(objects, clock, seats)
    server = ApiServer(machine, authenticate=by_name, authorizer=Authorizers((Everything(),)), flow_control=control)
    for name in ("default", "kube-node-lease"):
        await objects.create(Namespace(metadata=ObjectMeta(name=name)))
    await ensure_flow_control(objects)
    return Served(server, objects, control)


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    made = await served(600)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.server.run())
        yield made
        running.cancel()


async def settled(api: Served) -> None:
    """Until the configuration is in order."""
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not api.control.unsettled.is_set()


async def test_a_flood_by_one_account_leaves_leases_admins_and_other_accounts_alone() -> None:
    """Row A1 by counts: who is served is decided by turns, not by who came first."""
    api = await served(60)
    for number in range(300):
        await api.server.machine.store.put(
            f"/registry/pods/default/p{number}", b'{"metadata":{"name":"p%d","namespace":"default"}}' % number
        )
    flood = [asyncio.ensure_future(api.send("flood", "GET", PODS)) for _ in range(400)]
    others = [
        asyncio.ensure_future(api.send(user, "GET", path))
        for _ in range(5)
        for user, path in (("node", LEASES), ("admin", PODS), ("other", PODS))
    ]
    answers = await asyncio.gather(*flood)
    assert {response.status for response in await asyncio.gather(*others)} == {200}
    counted = Counter(response.status for response in answers)
    assert set(counted) == {200, 429}
    assert counted[429] >= 50
    refused = next(response for response in answers if response.status == 429)
    assert refused.headers["Retry-After"] == "1"
    served_first = [entry for entry in api.order if not entry.endswith("429")]
    for user, turns in (("node", 60), ("admin", 60), ("other", 120)):
        last = max(place for place, entry in enumerate(served_first) if entry.startswith(user))
        assert last < turns, f"{user} waited for the flood"
    assert (await api.send("flood", "GET", PODS)).status == 200
    await asyncio.sleep(0)
    assert all(level.in_use == 0 and not level.waiting for level in api.control.levels.values())


async def test_without_flow_control_the_same_flood_is_served_first() -> None:
    api = await served(60)
    api.server.first = api.server.first.__class__(by_name, None, api.server.first.next.next)  # type: ignore[attr-defined,call-arg]
    flood = [asyncio.ensure_future(api.send("flood", "GET", PODS)) for _ in range(400)]
    node = asyncio.ensure_future(api.send("node", "GET", LEASES))
    assert {response.status for response in await asyncio.gather(*flood)} == {200}
    await node
    assert api.order[-1] == "node 200"


async def test_an_answer_says_which_schema_and_level_it_was_handled_under(api: Served) -> None:
    schema = api.objects.get(FlowSchema, "service-accounts")
    level = api.objects.get(PriorityLevelConfiguration, "workload-low")
    assert schema is not None and level is not None
    for path in (PODS, f"{PODS}/nothing"):
        answer = await api.send("flood", "GET", path)
        assert answer.headers["X-Kubernetes-Pf-Flowschema-Uid"] == schema.metadata.uid
        assert answer.headers["X-Kubernetes-Pf-Prioritylevel-Uid"] == level.metadata.uid


async def test_a_level_that_rejects_lets_nobody_wait() -> None:
    api = await served(60)
    level = api.objects.get(PriorityLevelConfiguration, "catch-all")
    assert level is not None and api.control.levels["catch-all"].queues is None
    api.control.levels["catch-all"].resize(1)
    schema = api.objects.get(FlowSchema, "service-accounts")
    assert schema is not None
    reference = replace(schema.spec.priority_level_configuration, name="catch-all")
    await api.objects.update(replace(schema, spec=replace(schema.spec, priority_level_configuration=reference)))
    api.control.levels["catch-all"].resize(1)
    answers = await asyncio.gather(*(api.send("flood", "GET", PODS) for _ in range(3)))
    assert [answer.status for answer in answers] == [200, 429, 429]


async def test_who_leaves_the_queue_takes_no_turn() -> None:
    api = await served(60)
    level = api.control.levels["workload-low"]
    level.resize(1)
    first = asyncio.ensure_future(api.send("flood", "GET", PODS))
    waiting = asyncio.ensure_future(api.send("flood", "GET", PODS))
    await asyncio.sleep(0)
    waiting.cancel()
    last = asyncio.ensure_future(api.send("flood", "GET", PODS))
    assert (await first).status == (await last).status == 200
    assert waiting.cancelled() or waiting.done()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (level.in_use, level.waiting, level.executing) == (0, 0, 0)


async def test_waiting_too_long_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.apiserver.flowcontrol.level.WAIT_SECONDS_MAX", 0.01)
    api = await served(60)
    level = api.control.levels["workload-low"]
    level.resize(0)
    level.in_use = 1
    answer = await api.send("flood", "GET", PODS)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert await api.metric("apiserver_flowcontrol_rejected_requests_total") == {
        '{flow_schema="service-accounts",priority_level="workload-low",reason="time-out"}': 1.0
    }


async def test_what_waits_survives_a_change_of_the_queues() -> None:
    api = await served(60)
    level = api.control.levels["workload-low"]
    level.resize(1)
    waiting = [asyncio.ensure_future(api.send("flood", "GET", PODS)) for _ in range(4)]
    await asyncio.sleep(0)
    found = api.objects.get(PriorityLevelConfiguration, "workload-low")
    assert (
        found is not None and found.spec.limited is not None and found.spec.limited.limit_response.queuing is not None
    )
    queuing = replace(found.spec.limited.limit_response.queuing, queues=2, hand_size=1)
    response = replace(found.spec.limited.limit_response, queuing=queuing)
    spec = replace(found.spec, limited=replace(found.spec.limited, limit_response=response))
    await api.objects.update(replace(found, spec=spec))
    assert {(await one).status for one in waiting} == {200}


async def test_a_schema_without_its_level_is_dangling_and_not_used(api: Served) -> None:
    await settled(api)
    schema = api.objects.get(FlowSchema, "service-accounts")
    assert schema is not None
    [condition] = schema.status.conditions or ()
    assert (condition.type, condition.status, condition.reason) == ("Dangling", "False", "Found")
    reference = replace(schema.spec.priority_level_configuration, name="nothing")
    own = ObjectMeta(name="own", annotations={})
    spec = replace(schema.spec, priority_level_configuration=reference, matching_precedence=5)
    await api.objects.create(FlowSchema(metadata=own, spec=spec))
    await settled(api)
    made = api.objects.get(FlowSchema, "own")
    assert made is not None
    [condition] = made.status.conditions or ()
    assert (condition.status, condition.reason) == ("True", "NotFound")
    assert condition.message == (
        'This FlowSchema references the PriorityLevelConfiguration object named "nothing" but there is no such object'
    )
    answer = await api.send("flood", "GET", PODS)
    assert answer.headers["X-Kubernetes-Pf-Flowschema-Uid"] == schema.metadata.uid


@pytest.mark.parametrize(
    ("name", "annotations", "kept"),
    [
        ("global-default", {"apf.kubernetes.io/autoupdate-spec": "true"}, False),
        ("global-default", {"apf.kubernetes.io/autoupdate-spec": "false"}, True),
        ("global-default", {}, True),
    ],
)
async def test_what_administrators_change_stays_where_they_may(
    api: Served, name: str, annotations: dict[str, str], kept: bool
) -> None:
    found = api.objects.get(PriorityLevelConfiguration, name)
    assert found is not None and found.spec.limited is not None
    spec = replace(found.spec, limited=replace(found.spec.limited, nominal_concurrency_shares=77))
    metadata = replace(found.metadata, annotations=annotations)
    await api.objects.update(replace(found, spec=spec, metadata=metadata))
    await settled(api)
    now = api.objects.get(PriorityLevelConfiguration, name)
    assert now is not None and now.spec.limited is not None
    assert (now.spec.limited.nominal_concurrency_shares == 77) is kept
    assert (now.metadata.annotations or {})["apf.kubernetes.io/autoupdate-spec"] == ("false" if kept else "true")


async def test_the_spec_of_a_mandatory_level_or_schema_is_fixed(api: Served) -> None:
    level, schema = api.objects.get(PriorityLevelConfiguration, "catch-all"), api.objects.get(FlowSchema, "exempt")
    assert level is not None and level.spec.limited is not None and schema is not None
    more = replace(level.spec.limited, nominal_concurrency_shares=77)
    with pytest.raises(Invalid, match="spec of 'catch-all' must equal the fixed value"):
        await api.objects.update(replace(level, spec=replace(level.spec, limited=more)))
    with pytest.raises(Invalid, match="spec of 'exempt' must equal the fixed value"):
        await api.objects.update(replace(schema, spec=replace(schema.spec, rules=())))


async def test_an_annotation_of_a_mandatory_level_is_put_right(api: Served) -> None:
    level = api.objects.get(PriorityLevelConfiguration, "catch-all")
    assert level is not None
    off = replace(level.metadata, annotations={"apf.kubernetes.io/autoupdate-spec": "false"})
    await api.objects.update(replace(level, metadata=off))
    await settled(api)
    now = api.objects.get(PriorityLevelConfiguration, "catch-all")
    assert now is not None and (now.metadata.annotations or {})["apf.kubernetes.io/autoupdate-spec"] == "true"


async def test_how_much_the_exempt_level_lends_is_its_administrators(api: Served) -> None:
    level = api.objects.get(PriorityLevelConfiguration, "exempt")
    assert level is not None and level.spec.exempt is not None
    lent = replace(level.spec.exempt, nominal_concurrency_shares=10, lendable_percent=50)
    await api.objects.update(replace(level, spec=replace(level.spec, exempt=lent)))
    await settled(api)
    now = api.objects.get(PriorityLevelConfiguration, "exempt")
    assert now is not None and now.spec.exempt == lent


async def test_a_deleted_default_comes_back(api: Served) -> None:
    await api.send("admin", "DELETE", f"{FLOW}/flowschemas/catch-all")
    await settled(api)
    assert api.objects.get(FlowSchema, "catch-all") is not None


async def test_a_long_list_takes_more_seats_than_a_short_one() -> None:
    api = await served(600)
    for number in range(250):
        await api.server.machine.store.put(
            f"/registry/pods/default/p{number}", b'{"metadata":{"name":"p%d","namespace":"default"}}' % number
        )
    level = api.control.levels["workload-low"]
    seen: list[int] = []
    inner = api.server.first.next.next  # type: ignore[attr-defined]

    async def noted(request: Any) -> Response:
        seen.append(level.in_use)
        response: Response = await inner(request)
        return response

    object.__setattr__(api.server.first.next, "next", noted)  # type: ignore[attr-defined]
    for path in (PODS, f"{PODS}?limit=10", f"{PODS}/p1", "/api/v1/namespaces/other/pods"):
        await api.send("flood", "GET", path)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert seen == [3, 1, 1, 1]


async def test_the_state_of_queues_can_be_read(api: Served) -> None:
    await api.send("flood", "GET", PODS)
    base = "/debug/api_priority_and_fairness"
    rows = {}
    for dump in ("dump_priority_levels", "dump_queues", "dump_requests"):
        text = (await (await api.send("admin", "GET", f"{base}/{dump}")).read()).decode()
        rows[dump] = text.splitlines()
    assert rows["dump_priority_levels"][0].startswith("PriorityLevelName,")
    assert any(line.startswith("workload-low,") for line in rows["dump_priority_levels"])
    assert len(rows["dump_queues"]) == 1 + 64 * 2 + 16 + 128 * 3
    seats = await api.metric("apiserver_flowcontrol_nominal_limit_seats")
    assert seats['{priority_level="workload-low"}'] == 245.0
