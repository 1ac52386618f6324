"""Whom else the server believes: token files, outside issuers, webhooks, front proxies; and each only as far as it goes."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from kybern.aio.clock import SystemClock
from kybern.api.errors import Unauthorized
from kybern.apiserver.auth import verdicts
from kybern.apiserver.auth.access_webhook import AccessWebhook
from kybern.apiserver.auth.bearer import BearerAuthenticator
from kybern.apiserver.auth.jwt_issuer import JwtIssuer, JwtSettings
from kybern.apiserver.auth.jwt_keys import REFRESH_SECONDS
from kybern.apiserver.auth.remote import NoAnswer
from kybern.apiserver.auth.request_header import FrontProxy
from kybern.apiserver.auth.setup import Outside, certificates
from kybern.apiserver.auth.static_tokens import TokenFileError, read_tokens
from kybern.apiserver.auth.token_webhook import TokenWebhook
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import Attributes, User
from kybern.web.client_errors import ConnectFailed
from kybern.web.http import Peer, Request, Response
from kybern.web.pki import CLIENT, Pair, create_ca, issue


class Clock(SystemClock):
    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Server:
    """Stands in for a client of another server."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self.urls: list[str] = []

    def __call__(self, url: str) -> "Server":
        self.urls.append(url)
        return self

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def send(self, request: Request, *, timeout: float | None = None) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0)
        answer = self.answer(request)
        return answer if isinstance(answer, Response) else Response(200, {}, json.dumps(answer).encode())


# --- token files ------------------------------------------------------------------------------------------------------

FILE = """
# comment
t0ken,jane,u1,"dev,ops"
other, joe , u2
"""


def test_a_token_file_names_users_with_their_groups() -> None:
    tokens = read_tokens(FILE)
    assert tokens("t0ken") == User("jane", ("dev", "ops"), "u1")
    assert tokens("other") == User("joe", (), "u2")
    assert tokens("t0ke") is None and tokens("") is None
    assert "t0ken" not in repr(tokens)


@pytest.mark.parametrize("line", ["secret-token,jane", ",jane,u1", "secret-token,,u1"])
def test_a_line_that_is_wrong_is_refused_without_showing_its_token(line: str) -> None:
    with pytest.raises(TokenFileError, match="line 1") as refused:
        read_tokens(line)
    assert "secret" not in str(refused.value)


# --- verdicts ---------------------------------------------------------------------------------------------------------


async def test_a_verdict_is_asked_for_once_and_forgotten_in_time() -> None:
    clock, asked = Clock(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    known: Verdicts[int] = Verdicts(clock, lambda verdict: 10)
    assert await asyncio.gather(*(known.get(b"a", ask) for _ in range(5))) == [1] * 5
    assert await known.get(b"a", ask) == 1
    clock.now += 11
    assert await known.get(b"a", ask) == 2


async def test_verdicts_and_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_MAX", 3)
    monkeypatch.setattr(verdicts, "ASKING_MAX", 2)
    known: Verdicts[int] = Verdicts(Clock(), lambda verdict: 10)

    async def ask() -> int:
        await asyncio.sleep(0)
        return 1

    for number in range(9):
        await known.get(b"%d" % number, ask)
    assert len(known._known) == 3
    answers = await asyncio.gather(*(known.get(b"x%d" % n, ask) for n in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, int, *[TooManyQuestions] * 3]


async def test_what_failed_is_not_remembered() -> None:
    known: Verdicts[int] = Verdicts(Clock(), lambda verdict: 10)

    async def fail() -> int:
        raise NoAnswer("no")

    async def succeed() -> int:
        return 7

    with pytest.raises(NoAnswer):
        await known.get(b"a", fail)
    assert await known.get(b"a", succeed) == 7


# --- an outside issuer ------------------------------------------------------------------------------------------------

ISSUER = "https://issuer.test"
KEY, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
CURVE = ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: Any, name: str, algorithm: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if algorithm[0] in "RP" else jwt.algorithms.ECAlgorithm
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": name, "alg": algorithm, "use": "sig"}


def issuer_server(*keys: dict[str, Any]) -> Server:
    published = list(keys) or [jwk_of(KEY, "k1", "RS256")]

    def answer(request: Request) -> Any:
        if request.path == "/.well-known/openid-configuration":
            return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        return {"keys": published} if request.path == "/keys" else Response(404)

    return Server(answer)


def issuer(server: Server | None = None, clock: Clock | None = None, **changes: Any) -> JwtIssuer:
    settings = JwtSettings(url=ISSUER, audiences=("kybern",), groups_claim="groups", **changes)
    return JwtIssuer(settings, server or issuer_server(), clock or Clock())  # type: ignore[arg-type]


def token(
    key: Any = KEY, name: str | None = "k1", algorithm: str = "RS256", headers: Any = None, **changes: Any
) -> str:
    now = 1_767_225_600
    claims = {"iss": ISSUER, "aud": "kybern", "sub": "jane", "exp": now + 600, "iat": now, "groups": ["dev"]} | changes
    claims = {claim: value for claim, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={**({"kid": name} if name else {}), **(headers or {})})


async def test_a_user_of_an_outside_issuer_is_let_in_by_name_and_groups() -> None:
    assert await issuer()(token()) == User(f"{ISSUER}#jane", ("dev",))
    found = await issuer(username_prefix="oidc:", groups_prefix="oidc:")(token(groups="one"))
    assert found == User("oidc:jane", ("oidc:one",))
    assert await issuer(username_prefix="-")(token(groups=None)) == User("jane")
    assert await issuer(algorithms=("ES256",), server=issuer_server(jwk_of(CURVE, "k1", "ES256")))(
        token(CURVE, algorithm="ES256")
    ) == User(f"{ISSUER}#jane", ("dev",))


async def test_an_email_must_be_verified() -> None:
    by_email = issuer(username_claim="email")
    assert await by_email(token(email="jane@x", email_verified=True)) == User("jane@x", ("dev",))
    assert await by_email(token(email="jane@x", email_verified=False)) is None


async def test_claims_can_be_required() -> None:
    strict = issuer(required_claims={"hd": "x"})
    assert await strict(token(hd="x")) is not None
    assert await strict(token(hd="y")) is None and await strict(token()) is None


PUBLIC_PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def unsigned(**headers: Any) -> str:
    head, claims, _ = token().split(".")
    decoded = json.loads(base64.urlsafe_b64decode(head + "==")) | headers
    return base64.urlsafe_b64encode(json.dumps(decoded).encode()).decode().rstrip("=") + f".{claims}."


def keyed_by_the_public_key() -> str:
    """HS256 with what everybody knows as its secret: made by hand, for libraries refuse to."""
    import hashlib
    import hmac

    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=")
    signed = f"{head}.{token().split('.')[1]}"
    mac = hmac.new(PUBLIC_PEM, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("bad", "make"),
    [
        ("signed by somebody else", lambda: token(STRANGER)),
        ("an unknown key", lambda: token(name="k2")),
        ("a path as key", lambda: token(name="../../k1")),
        ("alg none", lambda: unsigned(alg="none")),
        ("no signature", unsigned),
        ("HS256 keyed by the public key", keyed_by_the_public_key),
        ("another RSA padding", lambda: token(algorithm="PS256")),
        ("critical extension", lambda: token(headers={"crit": ["x"], "x": 1})),
        ("expired", lambda: token(exp=1_767_225_599)),
        ("not yet", lambda: token(nbf=1_767_225_700)),
        ("no expiry", lambda: token(exp=None)),
        ("expiry as text", lambda: unsigned_claims(exp="never")),
        ("another audience", lambda: token(aud="other")),
        ("no audience", lambda: token(aud=None)),
        ("the issuer with a slash", lambda: token(iss=ISSUER + "/")),
        ("another issuer", lambda: token(iss="https://other.test")),
        ("no name", lambda: token(sub=None)),
        ("an empty name", lambda: token(sub="")),
        ("groups that are no list", lambda: token(groups={"a": 1})),
        ("groups of numbers", lambda: token(groups=[1])),
        ("no JWT", lambda: "abc"),
        ("rubbish", lambda: "a.b.c"),
        ("claims that are a list", lambda: f"{token().split('.')[0]}.W10.x"),
    ],
)
async def test_a_token_that_is_wrong_in_any_way_is_nobodys(bad: str, make: Callable[[], str]) -> None:
    """U07."""
    assert await issuer()(make()) is None, bad


def unsigned_claims(**claims: Any) -> str:
    payload = {"iss": ISSUER, "aud": "kybern", "sub": "jane"} | claims
    return jwt.api_jws.PyJWS().encode(json.dumps(payload).encode(), KEY, "RS256", headers={"kid": "k1"})


async def test_keys_elsewhere_than_at_the_issuer_are_never_fetched() -> None:
    server = issuer_server()
    for header in ({"jku": "https://evil.test/k"}, {"x5u": "https://evil.test/k"}):
        await issuer(server)(token(STRANGER, headers=header))
    assert {request.path for request in server.asked} == {"/.well-known/openid-configuration", "/keys"}
    assert set(server.urls) == {ISSUER}


@pytest.mark.parametrize(
    "place", ["https://169.254.169.254", "https://localhost:6443", "http://keys.test", "file:///etc"]
)
async def test_an_issuer_cannot_send_the_server_to_itself_or_out_of_tls(place: str) -> None:
    """X10."""
    server = Server(lambda request: {"issuer": ISSUER, "jwks_uri": f"{place}/keys"})
    assert await issuer(server)(token()) is None
    assert server.urls == [ISSUER]


async def test_keys_may_be_on_another_server_that_the_issuer_names() -> None:
    def answer(request: Request) -> Any:
        if request.path == "/keys":
            return {"keys": [jwk_of(KEY, "k1", "RS256")]}
        return {"issuer": ISSUER, "jwks_uri": "https://keys.test/keys"}

    server = Server(answer)
    assert await issuer(server)(token()) is not None
    assert server.urls == [ISSUER, "https://keys.test"]


async def test_keys_are_fetched_once_and_for_an_unknown_one_again_but_not_all_the_time() -> None:
    clock, server = Clock(), issuer_server()
    source = issuer(server, clock)
    assert all(await asyncio.gather(*(source(token(sub=f"user{n}")) for n in range(5))))
    assert len(server.asked) == 2
    for number in range(20):
        await source(token(name=f"unknown{number}"))
    assert len(server.asked) == 2
    clock.now += REFRESH_SECONDS
    await source(token(name="unknown"))
    assert len(server.asked) == 4


async def test_a_verified_token_is_good_no_longer_than_it_says() -> None:
    clock = Clock()
    source = issuer(clock=clock)
    assert await source(token(exp=1_767_225_610)) is not None
    clock.now += 11
    assert await source(token(exp=1_767_225_610)) is None


async def test_an_issuer_that_cannot_be_reached_lets_nobody_in() -> None:
    def fail(request: Request) -> Any:
        raise ConnectFailed("no")

    for answer in (
        fail,
        lambda r: Response(302, {"Location": "https://evil.test"}),
        lambda r: [],
        lambda r: {"issuer": "x"},
    ):
        assert await issuer(Server(answer))(token()) is None


GROUPS_ELSEWHERE = {
    "_claim_names": {"groups": "directory"},
    "_claim_sources": {"directory": {"endpoint": "https://groups.test/of/jane", "access_token": "secret"}},
}


def directory(answered: Callable[[], str]) -> Server:
    """The issuer, and another one at whose server the groups are."""

    def answer(request: Request) -> Any:
        if request.path == "/of/jane":
            return Response(200, {}, answered().encode())
        ours = server.urls[-1] == ISSUER
        if request.path == "/keys":
            return {"keys": [jwk_of(KEY if ours else STRANGER, "k1", "RS256")]}
        return {"issuer": server.urls[-1], "jwks_uri": f"{server.urls[-1]}/keys"}

    server = Server(answer)
    return server


def groups_told(key: Any = None, **claims: Any) -> str:
    return token(STRANGER if key is None else key, iss="https://groups.test", **{"groups": ["dev"], **claims})


async def test_groups_are_fetched_from_where_the_token_says() -> None:
    server = directory(groups_told)
    found = await issuer(server)(token(groups=None, **GROUPS_ELSEWHERE))
    assert found is not None and found.groups == ("dev",)
    asked = next(request for request in server.asked if request.path == "/of/jane")
    assert asked.headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("bad", "make"),
    [
        ("signed by another key", lambda: groups_told(KEY)),
        ("for another audience", lambda: groups_told(aud="other")),
        ("expired", lambda: groups_told(exp=1)),
        ("without the claim", lambda: groups_told(groups=None)),
        ("no token", lambda: '{"groups": ["system:masters"]}'),
        ("of an issuer on this machine", lambda: token(STRANGER, iss="https://localhost:6443", groups=["dev"])),
    ],
)
async def test_groups_that_cannot_be_believed_make_the_token_nobodys(bad: str, make: Callable[[], str]) -> None:
    """The user without its groups would be another one: a policy may refuse what a group does."""
    found = await issuer(directory(make))(token(groups=None, **GROUPS_ELSEWHERE))
    assert found is None, bad


async def test_groups_on_this_machine_are_not_fetched() -> None:
    """X10."""
    sources = {"directory": {"endpoint": "https://127.0.0.1:6443/api/v1/secrets"}}
    server = directory(groups_told)
    assert await issuer(server)(token(groups=None, **GROUPS_ELSEWHERE | {"_claim_sources": sources})) is None
    assert set(server.urls) == {ISSUER}


async def test_a_token_that_has_its_groups_is_asked_no_further() -> None:
    server = directory(groups_told)
    found = await issuer(server)(token(groups=["ops"], **GROUPS_ELSEWHERE))
    assert found is not None and found.groups == ("ops",)
    assert set(server.urls) == {ISSUER}


@pytest.mark.parametrize(
    "changes", [{"url": "http://issuer.test"}, {"audiences": ()}, {"algorithms": ("HS256",)}, {"algorithms": ("none",)}]
)
def test_settings_that_make_no_sense_are_told(changes: dict[str, Any]) -> None:
    assert list(JwtSettings(**({"url": ISSUER, "audiences": ("a",)} | changes)).wrong())


# --- webhooks ---------------------------------------------------------------------------------------------------------


def token_webhook(status: Any, clock: Clock | None = None) -> tuple[TokenWebhook, Server]:
    server = Server(lambda request: {"kind": "TokenReview", "status": status})
    return TokenWebhook(server, "/check", clock or Clock(), ("here",)), server  # type: ignore[arg-type]


JANE_STATUS = {
    "authenticated": True,
    "user": {"username": "jane", "uid": "1", "groups": ["dev"], "extra": {"a": ["b"]}},
}


async def test_a_webhook_is_asked_about_a_token_once_in_a_while() -> None:
    clock = Clock()
    source, server = token_webhook(JANE_STATUS, clock)
    for _ in range(3):
        assert await source("t") == User("jane", ("dev",), "1", {"a": ("b",)})
    assert len(server.asked) == 1
    sent = json.loads(server.asked[0].body)  # type: ignore[arg-type]
    assert sent["spec"] == {"token": "t", "audiences": ["here"]}
    clock.now += 121
    await source("t")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False, "user": {"username": "jane"}}, {}, None, {"authenticated": "true"},
        {"authenticated": True}, {"authenticated": True, "user": {"username": ""}},
        {"authenticated": True, "user": {"username": 1}},
        {"authenticated": True, "user": {"username": "jane"}, "audiences": ["elsewhere"]},
    ],
)  # fmt: skip
async def test_a_webhook_that_does_not_clearly_say_yes_says_no(status: Any) -> None:
    source, _ = token_webhook(status)
    assert await source("t") is None


async def test_who_no_source_knows_is_unauthorized_and_ours_are_not_told_to_others() -> None:
    source, server = token_webhook({"authenticated": False})
    bearer = BearerAuthenticator((read_tokens(FILE),), (source,))
    assert (await bearer(Request("GET", "/", "", {"authorization": "Bearer t0ken"}))) is not None
    assert not server.asked
    with pytest.raises(Unauthorized):
        await bearer(Request("GET", "/", "", {"authorization": "Bearer unknown"}))
    assert len(server.asked) == 1


ASKED = Attributes(user=User("jane", ("dev",)), verb="get", resource="pods", namespace="shop", name="web")


async def test_a_webhook_may_allow_what_nobody_here_does() -> None:
    clock = Clock()
    server = Server(lambda request: {"kind": "SubjectAccessReview", "status": {"allowed": True, "reason": "fine"}})
    webhook = AccessWebhook(server, "/", clock)  # type: ignore[arg-type]
    assert [(await webhook.ask(ASKED)).allowed for _ in range(3)] == [True] * 3
    assert len(server.asked) == 1
    sent = json.loads(server.asked[0].body)  # type: ignore[arg-type]
    assert sent["spec"] == {
        "user": "jane",
        "groups": ["dev"],
        "resourceAttributes": {"namespace": "shop", "verb": "get", "resource": "pods", "name": "web"},
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "SubjectAccessReview", "status": {"allowed": True, "denied": True}},
        {"kind": "SubjectAccessReview", "status": {"allowed": "yes"}},
        {"kind": "Other", "status": {"allowed": True}},
        Response(500), Response(200, {}, b"{"), Response(302, {"Location": "http://127.0.0.1/"}), [],
    ],
)  # fmt: skip
async def test_a_webhook_that_does_not_clearly_allow_refuses(answer: Any) -> None:
    webhook = AccessWebhook(Server(lambda request: answer), "/", Clock())  # type: ignore[arg-type]
    assert not (await webhook.ask(ASKED)).allowed


# --- front proxies ----------------------------------------------------------------------------------------------------

NOW = 1_767_225_600.0
CLIENTS, PROXIES = create_ca("clients", NOW - 10), create_ca("proxies", NOW - 10)
HEADERS = {"x-remote-user": "jane", "x-remote-group": "dev, ops", "x-remote-extra-acme%2Fscope": "a"}
TWO_LINES = (("x-remote-group", "dev"), ("x-remote-group", "ops"))


def shown(ca: Pair, name: str, *groups: str) -> Peer:
    pair = issue(ca, name, now=NOW - 5, organizations=groups, usages=(CLIENT,), days=1)
    return Peer("", load_pem_x509_certificate(pair.certificate).public_bytes(serialization.Encoding.DER))


async def who(
    peer: Peer, headers: dict[str, str], allowed: tuple[str, ...] = (), later: float = 0, lines: Any = TWO_LINES
) -> User | None:
    clock = Clock()
    clock.now += later
    proxy = FrontProxy(authorities=tuple(load_pem_x509_certificates(PROXIES.certificate)), allowed_names=allowed)
    own = tuple(load_pem_x509_certificates(CLIENTS.certificate))
    for authenticator in certificates(clock, Outside(front_proxy=proxy, client_authorities=own)):
        user = await authenticator(Request("GET", "/", "", headers, b"", peer, lines))
        if user is not None:
            return user
    return None


async def test_a_front_proxy_says_who_the_user_is() -> None:
    found = await who(shown(PROXIES, "proxy"), HEADERS)
    assert found == User("jane", ("dev", "ops"), "", {"acme/scope": ("a",)})


async def test_a_comma_in_a_groups_name_makes_no_second_group() -> None:
    """Or else whoever may name a group could be in any."""
    named = HEADERS | {"x-remote-group": "dev, system:masters"}
    found = await who(shown(PROXIES, "proxy"), named, lines=())
    assert found is not None and found.groups == ("dev, system:masters",)


async def test_a_chain_is_believed_by_where_it_ends() -> None:
    """An intermediate authority signed these: TLS has verified the way up, and says where it led."""

    def through(root: Pair, name: str) -> Peer:
        between = create_ca("between", NOW - 5)
        end = load_pem_x509_certificate(root.certificate).public_bytes(serialization.Encoding.DER)
        return Peer("", shown(between, name).certificate, end)

    proxied = await who(through(PROXIES, "proxy"), HEADERS)
    assert proxied is not None and proxied.name == "jane"
    direct = await who(through(CLIENTS, "bob"), HEADERS)
    assert direct is not None and direct.name == "bob"
    assert await who(through(create_ca("elsewhere", NOW - 5), "root"), HEADERS) is None


async def test_headers_without_a_front_proxys_certificate_are_just_headers() -> None:
    """U04."""
    assert await who(Peer(), HEADERS) is None
    found = await who(shown(CLIENTS, "bob"), HEADERS | {"x-remote-user": "admin"})
    assert found is not None and (found.name, found.groups) == ("bob", ("system:authenticated",))


async def test_the_front_proxys_authority_makes_no_users_and_the_clients_no_proxies() -> None:
    """U03: also where a certificate claims to be an administrator's."""
    assert await who(shown(PROXIES, "root", "system:masters"), {}) is None
    found = await who(shown(CLIENTS, "proxy"), HEADERS, allowed=("proxy",))
    assert found is not None and found.name == "proxy"


async def test_a_proxy_of_another_name_or_too_late_is_refused() -> None:
    assert await who(shown(PROXIES, "proxy"), HEADERS, allowed=("proxy",)) is not None
    with pytest.raises(Unauthorized):
        await who(shown(PROXIES, "other"), HEADERS, allowed=("proxy",))
    with pytest.raises(Unauthorized):
        await who(shown(PROXIES, "proxy"), HEADERS, later=2 * 86400)


@pytest.mark.parametrize("header", ["x_remote_user", "x-remote-users", "remote-user", "x-remote-user "])
async def test_a_header_of_almost_that_name_names_nobody(header: str) -> None:
    assert await who(shown(PROXIES, "proxy"), {header: "jane", "x-remote-group": "system:masters"}) is None
