"""What belongs to no verb alone: layers, reservations, the server's own objects, restarts, forgetting."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.ids import Ids
from kybern.api.core_v1 import ConfigMap, Namespace, Pod
from kybern.api.errors import Conflict, Forbidden, Unauthorized
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.compaction import Compaction
from kybern.apiserver.meta import changed_meta
from kybern.apiserver.request import Admission, Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry.resources import RESOURCES
from kybern.store.interface import Unavailable
from kybern.store.sqlite import SqliteStore
from kybern.web.http import Request, Response

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


class Refusing:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(False, "no rule")


async def refuse(request: Request) -> User:
    raise Unauthorized("Unauthorized")


async def jane(request: Request) -> User:
    return User("jane")


async def test_who_may_not_is_told_what(api: Any) -> None:
    server = ApiServer(api.server.machine, authenticate=jane, authorizer=Authorizers((Refusing(),)))
    api.server = server
    answer = await api.get(PODS)
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert answer.message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default": no rule'
    )
    assert (await api.get("/metrics")).message == 'forbidden: User "jane" cannot get path "/metrics": no rule'


async def test_unknown_resources_are_hidden_from_who_may_not(api: Any) -> None:
    api.server = ApiServer(api.server.machine, authenticate=jane, authorizer=Authorizers((Refusing(),)))
    assert (await api.get("/api/v1/nothings")).status == 403


async def test_wrong_credentials_are_unauthorized(api: Any) -> None:
    api.server = ApiServer(api.server.machine, authenticate=refuse, authorizer=Authorizers((Refusing(),)))
    answer = await api.get(PODS)
    assert (answer.status, answer.body["reason"], answer.message) == (401, "Unauthorized", "Unauthorized")


async def test_an_error_inside_tells_nothing_of_the_inside(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Any) -> Response:
        raise ZeroDivisionError("secret detail")

    api.server.first = broken
    answer = await api.get(PODS)
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert b"secret" not in answer.raw


class Reserving:
    name = "Reserving"
    kinds = ()

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refuses = False

    async def admit(self, admission: Admission) -> None:
        self.told.append("admit")

    async def validate(self, admission: Admission) -> None:
        if self.refuses:
            raise Forbidden("not today")

    def committed(self, admission: Admission) -> None:
        self.told.append("committed")

    def abandoned(self, admission: Admission) -> None:
        self.told.append("abandoned")


async def test_a_reservation_hears_how_its_write_ended(api: Any, config_map: Any) -> None:
    plugin = Reserving()
    api.server.machine.use([plugin])
    await api.post(CONFIG_MAPS, config_map)
    assert plugin.told == ["admit", "committed"]
    plugin.told.clear()
    await api.post(f"{CONFIG_MAPS}?dryRun=All", config_map | {"metadata": {"name": "b"}})
    assert plugin.told == ["admit", "abandoned"]
    plugin.told.clear()
    plugin.refuses = True
    assert (await api.post(CONFIG_MAPS, config_map | {"metadata": {"name": "b"}})).status == 403
    assert plugin.told == ["admit", "abandoned"]


async def test_a_plugin_is_told_of_the_kinds_that_it_names_and_no_others(api: Any, config_map: Any) -> None:
    plugin = Reserving()
    plugin.kinds = (Pod,)  # type: ignore[assignment]
    api.server.machine.use([plugin])
    await api.post(CONFIG_MAPS, config_map)
    assert plugin.told == []
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert plugin.told == ["admit", "committed"]


async def test_a_pod_on_a_node_is_deleted_gracefully(api: Any) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n", "terminationGracePeriodSeconds": 60}
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": spec})
    meta = (await api.delete(f"{PODS}/p")).body["metadata"]
    assert (meta["deletionGracePeriodSeconds"], meta["deletionTimestamp"]) == (60, "2026-01-01T00:01:00Z")
    longer = (await api.delete(f"{PODS}/p?gracePeriodSeconds=90")).body["metadata"]
    assert longer["deletionGracePeriodSeconds"] == 60, "grace can only become shorter"
    shorter = (await api.delete(f"{PODS}/p?gracePeriodSeconds=10")).body["metadata"]
    assert (shorter["deletionGracePeriodSeconds"], shorter["deletionTimestamp"]) == (10, "2026-01-01T00:00:10Z")
    assert (await api.delete(f"{PODS}/p?gracePeriodSeconds=0")).status == 200
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_a_pod_without_a_node_is_deleted_at_once(api: Any) -> None:
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert (await api.delete(f"{PODS}/p")).body["kind"] == "Pod"
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_a_pod_is_bound_once(api: Any) -> None:
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await api.post(f"{PODS}/p/binding", binding)
    assert (answer.status, answer.body["status"]) == (201, "Success")
    pod = (await api.get(f"{PODS}/p")).body
    assert pod["spec"]["nodeName"] == "n1"
    again = await api.post(f"{PODS}/p/binding", binding)
    assert again.status == 409
    assert 'pod p is already assigned to node "n1"' in again.message


async def test_an_evicted_pod_is_deleted(api: Any) -> None:
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    assert (await api.post(f"{PODS}/p/eviction", eviction)).status == 201
    assert (await api.get(f"{PODS}/p")).status == 404


async def test_an_older_drain_evicts_too(api: Any) -> None:
    await api.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    assert (await api.post(f"{PODS}/p/eviction", eviction)).status == 201


async def test_a_namespace_goes_when_it_is_finalized(api: Any) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "a"}})
    answer = await api.delete("/api/v1/namespaces/a")
    assert (answer.status, answer.body["status"]["phase"]) == (200, "Terminating")
    namespace = (await api.get("/api/v1/namespaces/a")).body
    namespace["spec"]["finalizers"] = []
    assert (await api.put("/api/v1/namespaces/a/finalize", namespace)).status == 200
    assert (await api.get("/api/v1/namespaces/a")).status == 404


async def test_the_servers_own_parts_read_and_write_objects(api: Any) -> None:
    seen: list[tuple[Any, Any]] = []
    api.objects.on_change(ConfigMap, lambda old, new: seen.append((old, new)))
    made = await api.objects.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"k": "v"}))
    assert api.objects.get(ConfigMap, "a", "default") == made
    assert api.objects.list(ConfigMap) == api.objects.list(ConfigMap, "default") == [made]
    stale = made
    changed = await api.objects.update(changed_meta(made, labels={"x": "y"}))
    assert changed.metadata.labels == {"x": "y"}
    with pytest.raises(Conflict):
        await api.objects.update(changed_meta(stale, labels={"x": "z"}))
    with pytest.raises(Conflict):
        await api.objects.delete(ConfigMap, "a", "default", uid="other")
    await api.objects.delete(ConfigMap, "a", "default", uid=made.metadata.uid)
    assert api.objects.get(ConfigMap, "a", "default") is None
    assert [(old and old.metadata.name, new and new.metadata.name) for old, new in seen] == [
        (None, "a"), ("a", "a"), ("a", None),
    ]  # fmt: skip


async def test_objects_of_the_server_obey_the_rules(api: Any) -> None:
    with pytest.raises(Exception, match="is invalid"):
        await api.objects.create(Namespace(metadata=ObjectMeta(name="Not A Name")))


async def test_two_versions_of_a_kind_share_one_store(api: Any) -> None:
    event = {
        "metadata": {"name": "e"}, "reason": "Tested", "message": "it was", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    }  # fmt: skip
    assert (await api.post("/api/v1/namespaces/default/events", event)).status == 201
    other = (await api.get("/apis/events.k8s.io/v1/namespaces/default/events/e")).body
    assert (other["apiVersion"], other["note"], other["regarding"]["name"]) == ("events.k8s.io/v1", "it was", "p")


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path, api: Any, config_map: Any) -> None:
    async def opened(store: SqliteStore) -> None:
        machine = await open_machine(store, RESOURCES, api.clock, Ids(2))
        api.server = ApiServer(machine, authenticate=jane, authorizer=Authorizers((Everything(),)))

    store = await SqliteStore.open(tmp_path / "db")
    await opened(store)
    made = (await api.post(CONFIG_MAPS, config_map)).body
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "w"}})
    await store.close()
    store = await SqliteStore.open(tmp_path / "db")
    await opened(store)
    assert (await api.get(f"{CONFIG_MAPS}/a")).body["data"] == {"k": "w"}
    stream = await api.watch(f"{CONFIG_MAPS}?watch=true&resourceVersion={made['metadata']['resourceVersion']}")
    assert await stream.take(1) == [("MODIFIED", "a")], "the history is there too"
    await stream.close()
    await store.close()


async def test_a_store_that_cannot_write_says_why_and_reads_go_on(tmp_path: Path, api: Any, config_map: Any) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    machine = await open_machine(store, RESOURCES, api.clock, Ids(2))
    api.server = ApiServer(machine, authenticate=jane, authorizer=Authorizers((Everything(),)))
    await api.post(CONFIG_MAPS, config_map)
    await store.close()
    answer = await api.post(CONFIG_MAPS, config_map | {"metadata": {"name": "b"}})
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert answer.body["message"] == "the store cannot be written: the store is closed"
    assert "Retry-After" not in answer.headers, "clients would try again for a minute and say nothing"
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200, "reads go on"
    assert (await api.get("/readyz")).status == 500
    assert (await api.get("/readyz/store")).raw == b"internal server error: the store is closed\n"
    with pytest.raises(Unavailable):
        await store.put("/x", b"")


async def test_concurrent_writers_of_one_object_on_disk_lose_nothing(tmp_path: Path, api: Any, config_map: Any) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    machine = await open_machine(store, RESOURCES, api.clock, Ids(2))
    api.server = ApiServer(machine, authenticate=jane, authorizer=Authorizers((Everything(),)))
    await api.post(CONFIG_MAPS, config_map)
    answers = await asyncio.gather(*(api.patch(f"{CONFIG_MAPS}/a", {"data": {str(n): "x"}}) for n in range(50)))
    versions = {answer.body["metadata"]["resourceVersion"] for answer in answers}
    assert len(versions) == 50
    assert len((await api.get(f"{CONFIG_MAPS}/a")).body["data"]) == 51
    await store.close()


async def test_the_past_is_forgotten_after_a_while(api: Any, config_map: Any) -> None:
    now = 0.0
    api.clock.monotonic = lambda: now
    compaction = Compaction(api.server.machine)
    await api.post(CONFIG_MAPS, config_map)
    await compaction.look()
    await api.delete(f"{CONFIG_MAPS}/a")
    now = 200.0
    await compaction.look()
    assert api.store.oldest == 0
    now = 301.0
    await compaction.look()
    assert api.store.oldest == 1
    now = 502.0
    await compaction.look()
    assert api.store.oldest == 2


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


async def test_a_client_that_goes_away_does_not_undo_its_write(tmp_path: Path, api: Any, config_map: Any) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    machine = await open_machine(store, RESOURCES, api.clock, Ids(2))
    api.server = ApiServer(machine, authenticate=jane, authorizer=Authorizers((Everything(),)))
    plugin = Reserving()
    machine.use([plugin])
    task = asyncio.create_task(api.post(CONFIG_MAPS, config_map))
    while store.head("/registry/configmaps/default/a") is None:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert plugin.told == ["admit", "committed"]
    assert (await api.get(f"{CONFIG_MAPS}/a")).status == 200
    await store.close()


async def test_a_part_that_fails_on_a_change_stops_nobody(api: Any, config_map: Any) -> None:
    heard: list[str] = []

    def fails(old: Any, new: Any) -> None:
        raise ZeroDivisionError

    api.objects.on_change(ConfigMap, fails)
    api.objects.on_change(ConfigMap, lambda old, new: heard.append(new.metadata.name))
    api.store.subscribe("/registry/", lambda changes: 1 / 0)
    stream = await api.watch(f"{CONFIG_MAPS}?watch=true")
    assert (await api.post(CONFIG_MAPS, config_map)).status == 201
    assert heard == ["a"]
    assert await stream.take(1) == [("ADDED", "a")]
    await stream.close()


async def test_a_faulty_column_ends_its_watches_only(
    api: Any, config_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.post(CONFIG_MAPS, config_map)
    table = await api.watch(f"{CONFIG_MAPS}?watch=true", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    plain = await api.watch(f"{CONFIG_MAPS}?watch=true")
    await table.next()
    await plain.next()
    monkeypatch.setattr("kybern.apiserver.verbs.shown.Printer.alone", lambda *_, **__: 1 / 0)
    await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "w"}})
    assert await plain.take(1) == [("MODIFIED", "a")]
    with pytest.raises(StopAsyncIteration):
        await table.next()
    await plain.close()


async def test_what_is_sent_is_kept_beside_what_is_stored_only_while_somebody_asks_for_it(
    api: Any, config_map: Any
) -> None:
    watching = await api.watch(f"{CONFIG_MAPS}?watch=true")
    await api.post(CONFIG_MAPS, config_map)
    (event,) = await watching.take(1)
    cache = api.server.machine.storages["", "v1", "configmaps"].cache
    item = cache.get("default", "a")
    assert event == ("ADDED", "a") and item._served is None
    assert (await api.get(f"{CONFIG_MAPS}/a")).raw == item._served
    assert api.objects.get(ConfigMap, "a", "default") is not None
    await cache.forget_sent(item.revision)
    assert item._served is None and item.obj is not None  # what the server's own parts look at stays at hand
    assert (await api.get(f"{CONFIG_MAPS}/a")).body["data"] == config_map["data"]
    await watching.close()
