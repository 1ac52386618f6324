"""Service-account tokens: what is accepted, and everything on the attack list that is not (U06-U08, K01-K12)."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.aio.ids import Ids
from kybern.api.core_v1 import ConfigMap, Node, Pod, PodSpec, Secret, ServiceAccount
from kybern.api.errors import Unauthorized
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.auth import legacy_tokens
from kybern.apiserver.auth.bearer import BearerAuthenticator
from kybern.apiserver.auth.chain import Chain
from kybern.apiserver.auth.issuer import DEFAULT_ISSUER, TokenIssuer
from kybern.apiserver.auth.keys import Keys, keys_from_pem, keys_of, new_signing_key
from kybern.apiserver.auth.legacy_tokens import BootstrapTokens, SecretTokens
from kybern.apiserver.auth.legacy_use import INVALID_SINCE, LAST_USED, TRACKING, LegacyTokenUse
from kybern.apiserver.auth.tokens import (
    VERDICTS_MAX,
    ServiceAccountTokens,
    Verified,
    parsed,
    payload_of,
    verify,
)
from kybern.apiserver.request import ANONYMOUS
from kybern.testing.memory_objects import MemoryObjects
from kybern.web.account_token import key_id, secret_claims
from kybern.web.http import Request

KEYS = keys_from_pem(new_signing_key())
NOW = 1_800_000_000.0


@dataclass
class StandingClock:
    now: float = NOW

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class World:
    def __init__(self) -> None:
        self.clock = StandingClock()
        self.objects = MemoryObjects()
        self.account = self.objects.put(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="x")))
        self.node = self.objects.put(Node(metadata=ObjectMeta(name="n1")))
        self.pod = self.objects.put(Pod(metadata=ObjectMeta(name="p", namespace="x"), spec=PodSpec(node_name="n1")))
        self.issuer = TokenIssuer(keys=KEYS, clock=self.clock, ids=Ids(1))
        self.tokens = ServiceAccountTokens(keys=KEYS, objects=self.objects, clock=self.clock)

    def token(self, **more: object) -> str:
        return self.issuer.issue(self.account, **{"seconds": 3600, **more}).token


def test_a_token_is_the_account_it_was_issued_for() -> None:
    world = World()
    token = world.token(pod=world.pod, node=world.node)
    user = world.tokens(token)
    assert user is not None
    assert (user.name, user.uid) == ("system:serviceaccount:x:robot", world.account.metadata.uid)
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated")
    claims = payload_of(token)
    assert user.extra == {
        "authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",),
        "authentication.kubernetes.io/pod-name": ("p",),
        "authentication.kubernetes.io/pod-uid": (world.pod.metadata.uid,),
        "authentication.kubernetes.io/node-name": ("n1",),
        "authentication.kubernetes.io/node-uid": (world.node.metadata.uid,),
    }
    assert claims["iss"] == DEFAULT_ISSUER
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": world.pod.metadata.uid}
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": key_id(KEYS.signing.public_key())}


def test_a_token_ends_with_its_time() -> None:
    world = World()
    token = world.token(seconds=600)
    world.clock.now += 599
    assert world.tokens(token)
    world.clock.now += 1
    assert world.tokens(token) is None


def test_a_token_from_the_future_is_not_yet_good() -> None:
    world = World()
    token = world.token()
    world.clock.now -= 61
    assert world.tokens(token) is None


@pytest.mark.parametrize("bound", ["pod", "node", "secret", "account"])
def test_a_token_ends_with_what_it_is_bound_to_even_when_the_name_comes_back(bound: str) -> None:
    world = World()
    world_secret = world.objects.put(Secret(metadata=ObjectMeta(name="s", namespace="x")))
    target = {"pod": world.pod, "node": world.node, "secret": world_secret, "account": world.account}[bound]
    token = world.token(**({bound: target} if bound != "account" else {}))
    assert world.tokens(token)
    world.objects.remove(target)
    assert world.tokens(token) is None
    world.objects.put(replace(target, metadata=replace(target.metadata, uid=None)))
    assert world.tokens(token) is None


def test_a_token_outlives_its_deleted_pod_by_a_minute_at_most() -> None:
    world = World()
    token = world.token(pod=world.pod)
    deleted = replace(world.pod.metadata, deletion_timestamp=rfc3339(NOW))
    world.objects.put(replace(world.pod, metadata=deleted))
    world.clock.now += 59
    assert world.tokens(token)
    world.clock.now += 1
    assert world.tokens(token) is None


def test_a_token_for_another_audience_is_not_for_us() -> None:
    world = World()
    token = world.token(audiences=("vault",))
    assert world.tokens(token) is None
    found = world.tokens.review(token, ("vault", "other"))
    assert found is not None and found[1] == ("vault",)


def test_a_retired_key_is_good_while_it_is_published() -> None:
    world = World()
    token = world.token()
    newer = keys_from_pem(new_signing_key())
    both = keys_of(newer.signing, [KEYS.signing.public_key()])
    assert ServiceAccountTokens(keys=both, objects=world.objects, clock=world.clock)(token)
    assert ServiceAccountTokens(keys=newer, objects=world.objects, clock=world.clock)(token) is None


def claims_of(world: World) -> dict[str, object]:
    return payload_of(world.token())


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(claims: object, **header: object) -> str:
    return jwt.encode(claims, KEYS.signing, algorithm="RS256", headers={"kid": KEYS.signing_id, **header})


def test_no_other_algorithm_counts() -> None:
    world = World()
    claims = claims_of(world)
    public = KEYS.signing.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = f"{encoded({'alg': 'none', 'kid': KEYS.signing_id})}.{encoded(claims)}."
    import hashlib
    import hmac

    head = f"{encoded({'alg': 'HS256', 'kid': KEYS.signing_id})}.{encoded(claims)}"
    mac = base64.urlsafe_b64encode(hmac.new(public, head.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    pss = jwt.encode(claims, KEYS.signing, algorithm="PS256", headers={"kid": KEYS.signing_id})
    longer = jwt.encode(claims, KEYS.signing, algorithm="RS512", headers={"kid": KEYS.signing_id})
    for token in (unsigned, f"{head}.{mac}", pss, longer):
        assert world.tokens(token) is None


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "other"}, {"kid": "../../etc/passwd"}, {"kid": ""}, {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/x"}, {"crit": ["exp"]}, {"b64": False}, {"jwk": {"kty": "RSA"}},
        {"cty": "JWT"},
    ],
)  # fmt: skip
def test_no_header_chooses_how_a_token_is_verified(header: dict[str, object]) -> None:
    world = World()
    assert world.tokens(signed(claims_of(world))) is not None
    assert world.tokens(signed(claims_of(world), **header)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None}, {"exp": "9999999999"}, {"exp": 9999999999.5}, {"exp": True}, {"nbf": None}, {"aud": None},
        {"aud": ["other"]}, {"aud": [1]}, {"iss": DEFAULT_ISSUER + "/"}, {"iss": None},
        {"sub": "system:serviceaccount:x:admin"}, {"sub": None}, {"kubernetes.io": None}, {"kubernetes.io": "x"},
        {"kubernetes.io": {"namespace": "x"}}, {"kubernetes.io": {"namespace": "x", "serviceaccount": {"name": "robot"}}},
    ],
)  # fmt: skip
def test_a_claim_that_is_missing_or_misshapen_is_refused(change: dict[str, object]) -> None:
    world = World()
    claims = {key: value for key, value in (claims_of(world) | change).items() if value is not None}
    assert world.tokens(signed(claims)) is None


def test_another_key_s_signature_is_refused() -> None:
    world = World()
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(claims_of(world), stranger, algorithm="RS256", headers={"kid": KEYS.signing_id})
    assert world.tokens(token) is None


@pytest.mark.parametrize("token", ["", "x", "..", "a.b.c", "a.b.c.d.e", "é.é.é", "eyJhbGciOiJub25lIn0..", "." * 5000])
def test_garbage_is_refused(token: str) -> None:
    assert World().tokens(token) is None


def test_a_changed_signature_is_refused_wherever_it_changes() -> None:
    world = World()
    head, body, signature = world.token().split(".")
    for at in range(0, len(signature), 17):
        other = "A" if signature[at] != "A" else "B"
        assert world.tokens(f"{head}.{body}.{signature[:at]}{other}{signature[at + 1 :]}") is None


def test_the_signature_is_verified_once_and_memory_is_bounded() -> None:
    world = World()
    token = world.token()
    world.tokens(token)
    started = time.perf_counter()
    for _ in range(1000):
        world.tokens(token)
    assert time.perf_counter() - started < 0.2
    for number in range(VERDICTS_MAX + 10):
        world.tokens(f"garbage-{number}")
    assert len(world.tokens.verdicts) == VERDICTS_MAX


def request(**headers: str) -> Request:
    return Request("GET", "/api", headers={key.replace("_", "-"): value for key, value in headers.items()})


def chain(world: World) -> Chain:
    return Chain((BearerAuthenticator((world.tokens,)),))


async def test_a_right_token_is_also_authenticated() -> None:
    world = World()
    user = await chain(world)(request(authorization=f"bearer {world.token()}"))
    assert user.groups[-1] == "system:authenticated"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "token"])
async def test_without_a_token_one_is_anonymous(header: str) -> None:
    assert await chain(World())(request(authorization=header)) == ANONYMOUS


async def test_a_wrong_token_is_refused_and_not_anonymous() -> None:
    for header in ("Bearer x", "Bearer a, Bearer b", "Bearer " + "a" * 100_000):
        with pytest.raises(Unauthorized) as refused:
            await chain(World())(request(authorization=header))
        assert refused.value.status().message == "Unauthorized"


async def test_a_browser_sends_its_token_as_a_websocket_subprotocol() -> None:
    world = World()
    text = base64.urlsafe_b64encode(world.token().encode()).rstrip(b"=").decode()
    offered = f"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{text}"
    for more in ("", ", v4", " ,v4"):
        user = await chain(world)(request(sec_websocket_protocol=offered + more))
        assert user.name == "system:serviceaccount:x:robot"
    for other in (f"x{offered.split()[1]}", "v5.channel.k8s.io", ",,,"):
        assert await chain(world)(request(sec_websocket_protocol=other)) == ANONYMOUS


def data(**entries: str) -> dict[str, str]:
    return {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in entries.items()}


def test_a_legacy_token_is_good_while_its_secret_holds_it() -> None:
    world = World()
    secret = Secret(metadata=ObjectMeta(name="robot-token", namespace="x"), type="kubernetes.io/service-account-token")
    token = signed(secret_claims("x", "robot-token", "robot", world.account.metadata.uid or ""))
    stored = world.objects.put(replace(secret, data=data(token=token)))
    source = SecretTokens(KEYS, world.objects)
    user = source(token)
    assert user is not None and user.name == "system:serviceaccount:x:robot"
    world.objects.put(replace(stored, data=data(token="other")))
    assert source(token) is None
    world.objects.remove(stored)
    assert source(token) is None
    assert source(world.token()) is None


async def noted(use: LegacyTokenUse) -> None:
    """Returns when nothing is left to be written."""
    running = asyncio.ensure_future(use.run())
    while not running.done() and (use.noted or use.woken.is_set() or not use.objects.list(ConfigMap)):
        await asyncio.sleep(0)
    running.cancel()


async def test_the_day_of_a_legacy_tokens_last_use_is_noted_once_a_day_and_since_when_is_told() -> None:
    world = World()
    secret = Secret(metadata=ObjectMeta(name="robot-token", namespace="x"), type="kubernetes.io/service-account-token")
    token = signed(secret_claims("x", "robot-token", "robot", world.account.metadata.uid or ""))
    world.objects.put(replace(secret, data=data(token=token)))
    use = LegacyTokenUse(world.objects, world.clock)
    source = SecretTokens(KEYS, world.objects, use.note)
    source(token)
    await noted(use)
    today = use.today()
    [since] = world.objects.list(ConfigMap)
    assert (since.metadata.name, since.data) == (TRACKING, {"since": today})
    labelled = world.objects.get(Secret, "robot-token", "x")
    assert labelled.metadata.labels == {LAST_USED: today}
    source(token)
    assert not use.noted


async def test_a_legacy_token_that_is_marked_invalid_is_refused_and_its_use_noted() -> None:
    world = World()
    meta = ObjectMeta(name="robot-token", namespace="x", labels={INVALID_SINCE: "2025-01-01"})
    token = signed(secret_claims("x", "robot-token", "robot", world.account.metadata.uid or ""))
    world.objects.put(Secret(metadata=meta, type="kubernetes.io/service-account-token", data=data(token=token)))
    use = LegacyTokenUse(world.objects, world.clock)
    assert SecretTokens(KEYS, world.objects, use.note)(token) is None
    assert list(use.noted) == [("x", "robot-token")]


async def test_a_date_that_is_none_is_mended() -> None:
    world = World()
    world.objects.put(
        ConfigMap(metadata=ObjectMeta(name=TRACKING, namespace="kube-system"), data={"since": "long ago"})
    )
    use = LegacyTokenUse(world.objects, world.clock)
    await use.begin()
    assert world.objects.get(ConfigMap, TRACKING, "kube-system").data == {"since": use.today()}


def test_a_bootstrap_token_is_good_for_its_use_and_time() -> None:
    world = World()
    good = data(token_id="abcdef", token_secret="0123456789abcdef", usage_bootstrap_authentication="true")
    source = BootstrapTokens(world.objects, world.clock)

    def told(entries: dict[str, str]) -> bool:
        world.objects.put(
            Secret(
                metadata=ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system"),
                type="bootstrap.kubernetes.io/token",
                data=entries,
            )
        )
        return source("abcdef.0123456789abcdef") is not None

    assert told(good)
    assert source("abcdef.0123456789abcdee") is None
    assert not told(good | data(usage_bootstrap_authentication="false"))
    assert told(good | data(expiration=rfc3339(NOW + 1)))
    assert not told(good | data(expiration=rfc3339(NOW)))
    assert not told(good | data(expiration="soon"))
    assert not told({key: value for key, value in good.items() if key != "token-secret"})


def test_how_much_of_a_secret_is_right_is_told_by_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """U12: every comparison of a secret is made by the one function that takes as long for each."""
    compared: list[tuple[bytes, bytes]] = []

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    world = World()
    monkeypatch.setattr(legacy_tokens.hmac, "compare_digest", noted)
    entries = data(token_id="abcdef", token_secret="0123456789abcdef", usage_bootstrap_authentication="true")
    meta = ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system")
    world.objects.put(Secret(metadata=meta, type="bootstrap.kubernetes.io/token", data=entries))
    assert BootstrapTokens(world.objects, world.clock)("abcdef.wrongwrongwrong1") is not None
    assert compared == [(b"0123456789abcdef", b"wrongwrongwrong1")]


# --- without its defence, an attack succeeds --------------------------------------------------------------------------


def by_any_key(token: str, keys: Keys, issuers: tuple[str, ...]) -> Verified | None:
    return verify(token, KEYS, issuers)


def unverified(token: str, keys: Keys, issuers: tuple[str, ...]) -> Verified | None:
    return parsed(payload_of(token))


def by_name(tokens: ServiceAccountTokens, wanted: type[object], namespace: str, named: Mapping[str, str]) -> bool:
    return tokens.objects.get(wanted, named["name"], namespace) is not None


def for_anybody(tokens: ServiceAccountTokens, token: str, audiences: tuple[str, ...]) -> object:
    verified = tokens.verified(token)
    return (verified.user, audiences) if verified else None


def of_any_subject(claims: Mapping[str, object]) -> Verified | None:
    return parsed({**claims, "sub": "system:serviceaccount:x:robot"})


def until_any_time(claims: Mapping[str, object]) -> Verified | None:
    return parsed({**claims, "exp": 9_999_999_999})


TOKENS = "kybern.apiserver.auth.tokens"
PROVEN: list[tuple[Callable[..., None], tuple[object, ...], str, object]] = [
    (test_a_token_ends_with_its_time, (), f"{TOKENS}.ServiceAccountTokens.is_current", lambda *_: True),
    (test_a_token_from_the_future_is_not_yet_good, (), f"{TOKENS}.ServiceAccountTokens.is_current", lambda *_: True),
    *(
        (test_a_token_ends_with_what_it_is_bound_to_even_when_the_name_comes_back, (bound,), f"{TOKENS}.{what}", mutant)
        for bound in ("pod", "node", "secret", "account")
        for what, mutant in (
            ("ServiceAccountTokens.is_bound", lambda *_: True),
            ("ServiceAccountTokens.lives", by_name),
        )
    ),
    (test_a_token_outlives_its_deleted_pod_by_a_minute_at_most, (), f"{TOKENS}.ServiceAccountTokens.lives", by_name),
    (test_a_token_for_another_audience_is_not_for_us, (), f"{TOKENS}.ServiceAccountTokens.review", for_anybody),
    (test_a_retired_key_is_good_while_it_is_published, (), f"{TOKENS}.verify", by_any_key),
    (test_no_other_algorithm_counts, (), f"{TOKENS}.verify", unverified),
    (test_another_key_s_signature_is_refused, (), f"{TOKENS}.verify", unverified),
    (test_a_changed_signature_is_refused_wherever_it_changes, (), f"{TOKENS}.verify", unverified),
    (test_no_header_chooses_how_a_token_is_verified, ({"kid": "other"},), f"{TOKENS}.verify", unverified),
    (
        test_no_header_chooses_how_a_token_is_verified, ({"jku": "https://evil.example/jwks"},),
        f"{TOKENS}.HEADERS_KNOWN", {"alg", "kid", "typ", "jku"},
    ),
    (
        test_a_claim_that_is_missing_or_misshapen_is_refused, ({"sub": "system:serviceaccount:x:admin"},),
        f"{TOKENS}.parsed", of_any_subject,
    ),
    (test_a_claim_that_is_missing_or_misshapen_is_refused, ({"exp": 9999999999.5},), f"{TOKENS}.parsed", until_any_time),
    (
        test_a_bootstrap_token_is_good_for_its_use_and_time, (),
        "kybern.apiserver.auth.legacy_tokens.BootstrapTokens.is_expired", lambda *_: False,
    ),
    (
        test_a_bootstrap_token_is_good_for_its_use_and_time, (),
        "kybern.apiserver.auth.legacy_tokens.hmac.compare_digest", lambda *_: True,
    ),
    (
        test_a_legacy_token_is_good_while_its_secret_holds_it, (),
        "kybern.apiserver.auth.legacy_tokens.hmac.compare_digest", lambda *_: True,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "values", "defence", "mutant"), PROVEN)
def test_without_its_defence_the_row_fails(
    row: Callable[..., None],
    values: tuple[object, ...],
    defence: str,
    mutant: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(defence, mutant)
    with pytest.raises(AssertionError):
        row(*values)
