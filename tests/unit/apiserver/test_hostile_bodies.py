"""The attack rows B01 to B24: what a client may send to break the server, or to get past its rules, and what it is told.

Each request gets a Status, or the object that upstream would make of it; and an object beside it, the canary, stays as it was.
"""

import base64
import dataclasses
import json
import time
from typing import Any

import msgspec
import pytest

from kybern.api.protobuf import encode
from kybern.apiserver.meta import meta_of, replace
from kybern.apiserver.verbs.listing import next_page
from kybern.registry.parts import changed

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SECRETS = "/api/v1/namespaces/default/secrets"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SETS = "/apis/apps/v1/namespaces/default/daemonsets"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
LIMIT = 3 * 1024 * 1024
MIB = 1024 * 1024


def named(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "attack"}, **more}


def pod(**container: Any) -> dict[str, Any]:
    return named(spec={"containers": [{"name": "c", "image": "i", **container}]})


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def padded(size: int) -> bytes:
    body = text(named(data={"k": ""}))
    return body[:-3] + b"x" * (size - len(body)) + body[-3:]


def operations(count: int) -> bytes:
    return text([{"op": "test", "path": "/data/k", "value": "v"}] * count)


DOUBLING = [
    {"op": "add", "path": "/data/a0", "value": "x" * 1000},
    {"op": "add", "path": "/metadata/annotations", "value": {}},
    *({"op": "copy", "from": "/data", "path": f"/metadata/annotations/a{n}"} for n in range(4000)),
]
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
)
CLAIMS = [{"name": f"c{n}"} for n in range(20_000)]
KNOWN_CLAIMS = [{**claim, "resourceClaimName": "a"} for claim in CLAIMS]
CLAIMING = pod(resources={"claims": CLAIMS})
CLAIMING["spec"]["resourceClaims"] = KNOWN_CLAIMS
CLAIMING_NONE = pod(resources={"claims": [{"name": f"d{n}"} for n in range(500)]})
CLAIMING_NONE["spec"]["resourceClaims"] = KNOWN_CLAIMS
DIGITS = "9" * 5_000
ROLLING = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": DIGITS, "maxSurge": f"{DIGITS}%"}}}
COSTLY = pod()
COSTLY["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": DIGITS}
HUGE_LENGTH = b"k8s\x00\x0a\xff\xff\xff\xff\x07"

# row: (method, where, media type, body, statuses of which one is right)
ATTACKS: dict[str, tuple[str, str, str, bytes, set[int]]] = {
    "B01 lists nested 500 deep": ("POST", MAPS, JSON, b"[" * 500 + b"]" * 500, {400}),
    "B01 lists nested 1,000,000 deep": ("POST", MAPS, JSON, b"[" * MIB, {400}),
    "B01 objects nested 10,000 deep": ("POST", MAPS, JSON, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {400}),
    "B01 an annotation's place nested deep": ("POST", MAPS, JSON, b'{"metadata":{"annotations":' * 300, {400}),
    "B01 a login nested 5,000 deep": (
        "POST", SECRETS, JSON,
        text(named(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": base64.b64encode(b"[" * 5_000).decode()})), {422},
    ),
    "B01 an owned value nested 5,000 deep": (
        "PUT", f"{MAPS}/canary", JSON,
        text({"metadata": {"name": "canary", "managedFields": [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"v:" + "[" * 5_000: {}}}]}}), {400, 422},
    ),
    "B02 YAML lists nested deep": ("POST", MAPS, YAML, b"[" * 60_000, {400}),
    "B02 YAML blocks nested deep": ("POST", MAPS, YAML, b"".join(b" " * n + b"a:\n" for n in range(1000)), {400}),
    "B03 an alias bomb": ("POST", MAPS, YAML, BOMB, {400}),
    "B03 an alias of itself": ("POST", MAPS, YAML, b"a: &a [*a]", {400}),
    "B03 a merge key of itself": ("POST", MAPS, YAML, b"a: &a\n  <<: *a\n", {400}),
    "B04 a YAML tag of Python": ("POST", MAPS, YAML, b"metadata: !!python/object/apply:os.system ['true']", {400}),
    "B04 two documents": ("POST", MAPS, YAML, b"metadata: {name: attack}\n---\nmetadata: {name: b}\n", {201, 400}),
    "B04 a key that is a list": ("POST", MAPS, YAML, b"? [a]\n: b\n", {400}),
    "B04 UTF-16": ("POST", MAPS, YAML, "metadata: {name: attack}".encode("utf-16"), {400, 201}),
    "B04 not a number": ("POST", PODS, YAML, b"metadata: {name: attack}\nspec: {priority: .nan}", {400}),
    "B05 2^63 in an int32": ("POST", PODS, JSON, text(named(spec={"priority": 2**63})), {400}),
    "B05 2^64 in an int64": ("POST", PODS, JSON, text(named(spec={"activeDeadlineSeconds": 2**64})), {400}),
    "B05 1e400": ("POST", PODS, JSON, b'{"metadata":{"name":"attack"},"spec":{"priority":1e400}}', {400}),
    "B05 a number of 4,301 digits": ("POST", PODS, JSON, b'{"spec":{"priority":' + b"9" * 4301 + b"}}", {400}),
    "B05 a share of 5,000 digits": ("POST", BUDGETS, JSON, text(named(spec={"maxUnavailable": f"{DIGITS}%"})), {422}),
    "B05 a share of 5,000 digits that is none": ("POST", SETS, JSON, text(named(spec=ROLLING)), {422}),
    "B05 a text of 5,000 digits for a number": ("POST", PODS, JSON, text(COSTLY), {422}),
    "B05 NaN": ("POST", PODS, JSON, b'{"spec":{"priority":NaN}}', {400}),
    "B05 a text for a number": ("POST", PODS, JSON, text(named(spec={"priority": "1"})), {400}),
    "B06 a lone surrogate": ("POST", MAPS, JSON, b'{"metadata":{"name":"attack"},"data":{"k":"\\ud800"}}', {201, 400}),
    "B06 overlong UTF-8": ("POST", MAPS, JSON, b'{"metadata":{"name":"attack"},"data":{"k":"\xc0\xaf"}}', {400}),
    "B06 NUL in a name": ("POST", MAPS, JSON, b'{"metadata":{"name":"att\\u0000ack"}}', {422}),
    "B07 one byte under the limit": ("POST", MAPS, JSON, padded(LIMIT - 1), {422}),  # more than an object may hold
    "B07 one byte over the limit": ("POST", MAPS, JSON, padded(LIMIT + 1), {413}),
    "B07 100,000 keys": ("POST", MAPS, JSON, text(named(data={f"k{n}": "" for n in range(100_000)})), {201, 422}),
    "B09 10,001 operations": ("PATCH", f"{MAPS}/canary", PATCH, operations(10_001), {413}),
    "B09 copies that double": ("PATCH", f"{MAPS}/canary", PATCH, text(DOUBLING), {400, 413, 422}),
    "B09 a move into itself": (
        "PATCH", f"{MAPS}/canary", PATCH, text([{"op": "move", "from": "/data", "path": "/data/k"}]), {422},
    ),
    "B09 index 2^63": ("PATCH", f"{MAPS}/canary", PATCH, text([{"op": "add", "path": "/x/9223372036854775808", "value": 1}]), {422}),
    "B09 a pointer that ends in ~2": ("PATCH", f"{MAPS}/canary", PATCH, text([{"op": "remove", "path": "/data/~2"}]), {422}),
    "B10 a directive that is none": ("PATCH", f"{MAPS}/canary", STRATEGIC, text({"data": {"$patch": "explode"}}), {400}),
    "B10 keys to retain that are no list": ("PATCH", f"{MAPS}/canary", STRATEGIC, text({"data": {"$retainKeys": "k"}}), {400}),
    "B10 a merge key of another type": (
        "PATCH", f"{PODS}/canary", STRATEGIC, text({"spec": {"containers": [{"name": {"a": 1}, "image": "x"}]}}), {400, 422},
    ),
    "B11 forged managedFields": (
        "POST", MAPS, JSON, text({"metadata": {"name": "attack", "managedFields": [{"manager": "m", "operation": "Steal"}]}}), {422},
    ),
    "B11 managedFields in an applied configuration": (
        "PATCH", f"{MAPS}/canary?fieldManager=m", APPLY,
        text({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{"manager": "m"}]}}), {400},
    ),
    "B12 a quantity of 1e1000000": ("POST", PODS, JSON, text(pod(resources={"limits": {"cpu": "1e1000000"}})), {400, 422}),
    "B12 a quantity of a million zeros": (
        "POST", PODS, JSON, text(pod(resources={"limits": {"cpu": "0." + "0" * MIB + "1"}})), {400, 422},
    ),
    "B12 a quantity with two suffixes": ("POST", PODS, JSON, text(pod(resources={"limits": {"cpu": "1Eim"}})), {400}),
    "B12 a port beyond all ports": ("POST", PODS, JSON, text(pod(ports=[{"containerPort": 2**31 - 1}])), {422}),
    "B12 3,000 ports of one number": ("POST", PODS, JSON, text(pod(ports=[{"containerPort": 80}] * 3_000)), {201}),
    "B12 20,000 claims": ("POST", PODS, JSON, text(CLAIMING), {201}),
    "B12 20,000 claims that are none": ("POST", PODS, JSON, text(CLAIMING_NONE), {422}),
    "B13 10,000 terms": ("GET", f"{MAPS}?labelSelector=" + ",".join(f"k{n}%3Dv" for n in range(10_000)), JSON, b"", {200}),
    "B13 a field selector without an end": ("GET", f"{MAPS}?fieldSelector=metadata.name%3Da%5C", JSON, b"", {400}),
    "B13 a field nobody has": ("GET", f"{MAPS}?fieldSelector=data.k%3Dv", JSON, b"", {400}),
    "B14 version -1": ("GET", f"{MAPS}?resourceVersion=-1", JSON, b"", {400}),
    "B14 version 1e9": ("GET", f"{MAPS}?resourceVersion=1e9", JSON, b"", {400}),
    "B14 version 2^70": ("GET", f"{MAPS}?resourceVersion={2**70}", JSON, b"", {400}),
    "B14 version 0x1": ("GET", f"{MAPS}?resourceVersion=0x1", JSON, b"", {400}),
    "B14 a limit that is no number": ("GET", f"{MAPS}?limit=x", JSON, b"", {400}),
    "B15 the name ..": ("POST", MAPS, JSON, text({"metadata": {"name": ".."}}), {422}),
    "B15 the name . in a path": ("GET", f"{MAPS}/.", JSON, b"", {404}),
    "B15 a slash in a path's name": ("GET", f"{MAPS}/a%2fb", JSON, b"", {404}),
    "B15 a NUL in a path's name": ("GET", f"{MAPS}/%00", JSON, b"", {404}),
    "B15 a name of 254 letters": ("POST", MAPS, JSON, text({"metadata": {"name": "a" * 254}}), {422}),
    "B15 a name to complete that is wrong": ("POST", MAPS, JSON, text({"metadata": {"generateName": "A_"}}), {422}),
    "B16 an owner without a uid": (
        "POST", MAPS, JSON,
        text({"metadata": {"name": "attack", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}), {422},
    ),
    "B16 an Event as owner": (
        "POST", MAPS, JSON,
        text({"metadata": {"name": "attack", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "p", "uid": "u"}]}}), {422},
    ),
    "B19 another kind": ("POST", MAPS, JSON, text({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "attack"}}), {400}),
    "B19 a list": ("POST", MAPS, JSON, text({"apiVersion": "v1", "kind": "ConfigMapList", "items": []}), {400}),
    "B19 a kind that is a list": ("POST", MAPS, JSON, text({"kind": ["ConfigMap"], "metadata": {"name": "attack"}}), {400}),
    "B20 a media type nobody knows": ("POST", MAPS, "application/x-thing", text(named()), {415}),
    "B20 ten parameters": ("POST", MAPS, JSON + "".join(f";p{n}=v" for n in range(10)), text(named()), {201}),
    "B20 a patch as plain JSON": ("PATCH", f"{MAPS}/canary", JSON, text({"data": {}}), {415}),
    "B21 10,000 keys in a query": ("GET", f"{MAPS}?" + "&".join(f"k{n}=v" for n in range(10_000)), JSON, b"", {400}),
    "B21 a key twice": ("GET", f"{MAPS}?limit=1&limit=x", JSON, b"", {200, 400}),
    "B24 protobuf without its magic": ("POST", MAPS, PROTOBUF, b"k8x\x00", {400}),
    "B24 a length of 2 GB": ("POST", MAPS, PROTOBUF, HUGE_LENGTH, {400}),
    "B24 fields nobody knows": (
        "POST", MAPS, PROTOBUF, encode({"apiVersion": "v1", "kind": "ConfigMap", **named()}) + b"\xfa\x3f\x03abc", {201, 400},
    ),
    "B24 CBOR": ("POST", MAPS, "application/cbor", b"\xd9\xd9\xf7\xa0", {415}),
}  # fmt: skip
CPU_SECONDS_MAX = 5  # of a body of 3 MiB; what one costs that explodes is minutes


@pytest.fixture
async def canaries(api: Any) -> Any:
    await api.post(MAPS, {"metadata": {"name": "canary"}, "data": {"k": "v"}})
    await api.post(PODS, {**pod(), "metadata": {"name": "canary"}})
    return api


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_is_refused_and_leaves_no_trace(canaries: Any, attack: str) -> None:
    method, where, media, body, right = ATTACKS[attack]
    before = [(await canaries.get(f"{path}/canary")).body for path in (MAPS, PODS)]
    began = time.process_time()
    answer = await canaries.send(method, where, body, content_type=media)
    assert answer.status in right, answer.raw[:500]
    assert time.process_time() - began < CPU_SECONDS_MAX
    if answer.status >= 400:
        assert (answer.body["kind"], answer.body["code"]) == ("Status", answer.status)
        assert answer.body["message"] and len(answer.raw) < LIMIT // 2
    assert [(await canaries.get(f"{path}/canary")).body for path in (MAPS, PODS)] == before
    if answer.status >= 400:
        assert (await canaries.get(f"{MAPS}/attack")).status == 404


async def test_b08_a_compressed_body_is_not_taken_for_json(canaries: Any) -> None:
    answer = await canaries.send("POST", MAPS, b"\x1f\x8b\x08\x00", content_type=JSON, content_encoding="gzip")
    assert answer.status in (400, 415)


async def test_b14_a_token_leads_only_into_the_list_that_it_came_from(canaries: Any) -> None:
    for plural in ("configmaps", "secrets"):
        await canaries.post(f"/api/v1/namespaces/other/{plural}", {"metadata": {"name": "another"}})
    for start in ("../secrets/other/\0", "/registry/secrets/\0", "other/\0", "\0"):
        token = base64.urlsafe_b64encode(text({"v": "meta.k8s.io/v1", "rv": -1, "start": start})).decode()
        answer = await canaries.get(f"{MAPS}?continue={token}")
        assert answer.status == 400 or all(item["metadata"]["namespace"] == "default" for item in answer.body["items"])


async def test_b17_what_is_the_servers_is_not_the_clients(canaries: Any) -> None:
    forged = {
        "uid": "forged", "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x",
        "generation": 99, "deletionGracePeriodSeconds": 1,
    }  # fmt: skip
    made = (await canaries.post(PODS, {**pod(), "metadata": {"name": "b", **forged}})).body["metadata"]
    assert made.keys().isdisjoint({"deletionTimestamp", "selfLink", "deletionGracePeriodSeconds"})
    assert made["uid"] != "forged" and made["creationTimestamp"] > "2020" and made["generation"] == 1
    for field in ("uid", "creationTimestamp"):
        answer = await canaries.patch(f"{PODS}/b", {"metadata": {field: forged[field]}})
        assert answer.status in (409, 422)
    changed = (await canaries.patch(f"{PODS}/b", {"metadata": {"generation": 7, "selfLink": "/x"}})).body["metadata"]
    assert (changed["generation"], "selfLink" in changed) == (1, False)


async def test_b18_each_part_is_changed_at_its_own_address(canaries: Any) -> None:
    await canaries.patch(f"{PODS}/canary", {"status": {"phase": "Succeeded"}})
    assert (await canaries.get(f"{PODS}/canary")).body["status"]["phase"] == "Pending"
    image = {"spec": {"containers": [{"name": "c", "image": "other"}]}, "status": {"reason": "told"}}
    changed = (await canaries.patch(f"{PODS}/canary/status", image)).body
    assert (changed["spec"]["containers"][0]["image"], changed["status"]["reason"]) == ("i", "told")


@pytest.mark.parametrize(
    ("how", "status", "warns"), [("Strict", 400, False), ("Warn", 201, True), ("Ignore", 201, False)]
)
@pytest.mark.parametrize("media", [JSON, YAML])
async def test_b22_unknown_and_repeated_fields(canaries: Any, media: str, how: str, status: int, warns: bool) -> None:
    body = b'{"metadata": {"name": "b", "wrong": 1}, "data": {"a": "1"}, "data": {"a": "2"}}'
    answer = await canaries.send("POST", f"{MAPS}?fieldValidation={how}", body, content_type=media)
    assert answer.status == status
    told = answer.headers.get("Warning", "")
    assert ('unknown field "metadata.wrong"' in told.replace("\\", "")) is warns
    if how == "Strict":
        assert 'unknown field "metadata.wrong"' in answer.message and "data" in answer.message


# --- without its defence, an attack succeeds --------------------------------------------------------------------------


def any_number(wanted: Any, data: bytes) -> Any:
    return msgspec.json.decode(data, type=wanted, strict=False)


MUTANTS: dict[str, tuple[str, Any]] = {
    "B01 lists nested 500 deep": ("kybern.api.strict.DEPTH_MAX", 10_000),
    "B02 YAML blocks nested deep": ("kybern.api.yaml.DEPTH_MAX", 10_000),
    "B03 an alias of itself": ("kybern.apiserver.body.from_yaml", lambda body: ({"metadata": {"name": "attack"}}, [])),
    "B04 a key that is a list": (
        "kybern.apiserver.body.from_yaml",
        lambda body: ({"metadata": {"name": "attack"}}, []),
    ),
    "B05 a text for a number": ("kybern.api.codec.decode", any_number),
    "B06 NUL in a name": ("kybern.apiserver.writes.validate_metadata", lambda *_, **__: ()),
    "B09 10,001 operations": ("kybern.api.patches.json_patch.OPERATIONS_MAX", 10**6),
    "B09 copies that double": ("kybern.api.patches.json_patch.COPIED_BYTES_MAX", 10**9),
    "B07 one byte over the limit": ("kybern.apiserver.body.LIMIT", 10**8),
    "B10 keys to retain that are no list": ("kybern.api.patches.strategic._retained", lambda original, patch: original),
    "B11 forged managedFields": ("kybern.registry.metadata.validate_managed_fields", lambda *_: ()),
    "B13 a field nobody has": ("kybern.apiserver.selection.OWN_FIELDS", ("data.k",)),
    "B14 version 1e9": ("kybern.apiserver.verbs.versions.version_number", lambda text: 0),
    "B15 the name ..": ("kybern.apiserver.writes.validate_metadata", lambda *_, **__: ()),
    "B16 an Event as owner": ("kybern.registry.metadata.NEVER_OWNERS", ()),
    "B12 a port beyond all ports": ("kybern.api.names.port_number", lambda port: ()),
    "B19 another kind": ("kybern.apiserver.body.check_kind", lambda *_: None),
    "B20 a media type nobody knows": ("kybern.apiserver.body.media_type", lambda http: JSON),
    "B20 a patch as plain JSON": ("kybern.apiserver.verbs.patch.media_type", lambda http: MERGE),
    "B21 a key twice": (
        "kybern.web.http.pairs_of",
        lambda query: [part.split("=") for part in query.split("&")][::-1],
    ),
    "B24 protobuf without its magic": ("kybern.api.protobuf.decode", lambda body: named()),
}


@pytest.mark.parametrize("attack", MUTANTS)
async def test_without_its_defence_the_attack_is_not_answered_so(
    canaries: Any, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, where, media, body, right = ATTACKS[attack]
    told = await canaries.send(method, where, body, content_type=media)
    monkeypatch.setattr(*MUTANTS[attack])
    answer = await canaries.send(method, where, body, content_type=media)
    assert told.status in right
    assert (answer.status, answer.raw) != (told.status, told.raw)


def identity_as_sent(machine: Any, storage: Any, sent: Any, namespace: str) -> Any:
    return replace(meta_of(sent), namespace=namespace)


def status_as_sent(obj: Any, **parts: Any) -> Any:
    return obj if parts.keys() == {"status"} else changed(obj, **parts)


PROVEN: list[tuple[Any, tuple[Any, ...], str, Any]] = [
    (test_b08_a_compressed_body_is_not_taken_for_json, (), "kybern.api.strict.parse", lambda body: named()),
    (
        test_b14_a_token_leads_only_into_the_list_that_it_came_from, (),
        "kybern.apiserver.verbs.listing.next_page",
        lambda storage, selection, token, limit: next_page(storage, dataclasses.replace(selection, namespace=""), token, limit),
    ),
    (test_b17_what_is_the_servers_is_not_the_clients, (), "kybern.apiserver.writes.new_meta", identity_as_sent),
    (test_b18_each_part_is_changed_at_its_own_address, (), "kybern.registry.parts.changed", status_as_sent),
    (test_b22_unknown_and_repeated_fields, (JSON, "Strict", 400, False), "kybern.api.strict.unknown_fields", lambda *_: ()),
    (test_b22_unknown_and_repeated_fields, (YAML, "Warn", 201, True), "kybern.api.strict.unknown_fields", lambda *_: ()),
]  # fmt: skip


@pytest.mark.parametrize(("row", "values", "defence", "mutant"), PROVEN)
async def test_without_its_defence_the_row_fails(
    canaries: Any, row: Any, values: tuple[Any, ...], defence: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defence, mutant)
    with pytest.raises(AssertionError):
        await row(canaries, *values)
