"""Attempts to be somebody else, or to be asked no questions (U01-U24), against the server as it is composed."""

import asyncio
import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from posixpath import normpath
from urllib.parse import unquote

import msgspec
import pytest
from secured_api import SecuredApi, secured_api

from kybern.aio.clock import SystemClock
from kybern.api.core_v1 import ServiceAccount
from kybern.apiserver.auth.bearer import token_in
from kybern.apiserver.auth.certificates import CertificateAuthenticator
from kybern.apiserver.auth.chain import Chain
from kybern.apiserver.auth.grants import Grants
from kybern.apiserver.layers.understand import Understand, attributes_of
from kybern.apiserver.paths import Address, Paths, parse
from kybern.apiserver.request import ApiRequest, Attributes, User
from kybern.web.client import Client, ClientError
from kybern.web.http import Request, Response
from kybern.web.pki import CLIENT, SERVER, Pair, create_ca, issue
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context

PUBLIC = {"/healthz", "/livez", "/readyz", "/version"}
OTHERS = ("/metrics", "/logs", "/openapi/v2", "/openapi/v3", "/apis", "/api", "/openid/v1/jwks", "/healthz/ping", "/")


def routes(api: SecuredApi) -> Iterator[str]:
    """Every address of every kind and part that is served."""
    for resource in api.server.machine.resources():
        kind = resource.kind
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        place = f"{base}/namespaces/x/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
        yield from (f"{base}/{kind.plural}", place, f"{place}/a", f"{base}/watch/{kind.plural}")
        yield from (f"{place}/a/{part.name}" for part in resource.subresources)
        yield from (f"{place}/a/proxy/b",)


async def test_without_credentials_no_route_answers_but_health_and_version() -> None:
    """U01, U18."""
    async with secured_api() as api:
        found = {*routes(api), *OTHERS, *PUBLIC}
        assert len(found) > 300
        for route in found:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
                answer = await api.ask("", method, route)
                if route in PUBLIC and method in ("GET", "HEAD"):
                    assert answer.status == 200
                else:
                    assert answer.status == 403, (method, route, answer.body)


async def test_without_authorization_they_would_answer() -> None:
    async with secured_api(without="authorization") as api:
        answers = [
            await api.ask("", "GET", route) for route in routes(api) if "proxy" not in route and "watch" not in route
        ]
        assert sum(answer.status == 200 for answer in answers) > 50


async def test_the_anonymous_get_what_is_granted_to_them_and_no_more() -> None:
    """U02."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    async with secured_api() as api:
        rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
        await api.made(f"{rbac}/clusterroles", {"metadata": {"name": "a"}, "rules": [rule]})
        group = {"kind": "Group", "name": "system:unauthenticated", "apiGroup": "rbac.authorization.k8s.io"}
        reference = {"kind": "ClusterRole", "name": "a", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": "a"}, "roleRef": reference, "subjects": [group]}
        await api.made(f"{rbac}/clusterrolebindings", binding)
        assert (await api.ask("", "GET", "/api/v1/nodes")).status == 200
        assert (await api.ask("", "GET", "/api/v1/nodes/a")).status == 403
        assert (await api.ask("jane", "GET", "/api/v1/nodes")).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/namespaces/x/secrets", "/api//v1/namespaces/x/secrets", "/api/v1/../v1/namespaces/x/secrets",
        "/healthz/../api/v1/namespaces/x/secrets", "/healthz/%2e%2e/api/v1/namespaces/x/secrets",
        "/api/v1/namespaces/x/configmaps/../secrets", "/api/v1/namespaces/x/configmaps/%2e%2e/secrets",
        "/api/v1/namespaces/x/configmaps%2f..%2fsecrets", "/api/v1/namespaces/x/configmaps;/../secrets",
        "/API/v1/namespaces/x/secrets", "/api/v1/namespaces/x/secrets.", "/api/v1/namespaces/x/secrets%00",
        "/api/v1/namespaces/x/./secrets", "/%61pi/v1/namespaces/x/secrets", "/api/v1/namespaces/x/secret%73",
        "/api/v1/namespaces/x/configmaps/a/../../secrets", "/version/../api/v1/namespaces/x/secrets",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_path_is_read_in_one_way_by_the_authorizer_and_in_another_by_the_router(
    path: str,
) -> None:
    """U13: jane reads ConfigMaps and health, and Secrets under no name."""
    async with secured_api() as api:
        await prepare(api)
        answer = await api.ask("jane", "GET", path)
        assert answer.status in (403, 404), answer.body
        assert "canary" not in str(answer.body) and "Y2FuYXJ5" not in str(answer.body)


async def prepare(api: SecuredApi) -> None:
    await api.made("/api/v1/namespaces", {"metadata": {"name": "x"}})
    await api.made("/api/v1/namespaces/x/secrets", {"metadata": {"name": "a"}, "stringData": {"k": "canary"}})
    await api.made("/api/v1/namespaces/x/configmaps", {"metadata": {"name": "a"}})
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/x"
    await api.made(f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    user = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    await api.made(f"{rbac}/rolebindings", {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [user]})


@pytest.mark.parametrize("header", ["x_http_method_override", "x_http_method", "x_method_override"])
async def test_no_header_makes_one_method_another(header: str) -> None:
    """U14."""
    async with secured_api() as api:
        await prepare(api)
        url = "/api/v1/namespaces/x/configmaps/a"
        assert (await api.ask("jane", "GET", url, None, **{header: "DELETE"})).status == 200
        assert (await api.ask("jane", "GET", f"{url}?_method=DELETE")).status == 200
        assert (await api.ask("jane", "DELETE", url, None, **{header: "GET"})).status == 403
        assert (await api.ask("root", "GET", url)).status == 200
        for method in ("TRACE", "CONNECT", "FOO"):
            assert not (await api.ask("jane", method, url)).done


async def test_a_connection_remembers_nobody() -> None:
    """U16: each request on a kept connection is whoever its own credentials say."""
    async with secured_api() as api:
        await prepare(api)
        account = await api.objects.create(service_account())
        token = api.access.issuer.issue(account, seconds=600).token
        server = await serve(api.server)
        async with Client(f"http://127.0.0.1:{server.port}", idle_connections_max=1) as client:
            answers = []
            for header in (f"Bearer {token}", "", "Bearer wrong", "", f"Bearer {token}"):
                headers = {"authorization": header} if header else {}
                response = await client.send(Request("GET", "/apis", "", headers))
                await response.read()
                answers.append(response.status)
            assert len(client.open) == 1
        await server.close()
        assert answers == [200, 403, 401, 403, 200]


def service_account() -> ServiceAccount:
    from kybern.api.meta_v1 import ObjectMeta

    return ServiceAccount(metadata=ObjectMeta(name="a", namespace="x"), automount_service_account_token=False)


@pytest.mark.parametrize("broken", [False, True])
async def test_no_log_shows_a_token(caplog: pytest.LogCaptureFixture, broken: bool) -> None:
    """U20: at no level, neither where it is wrong nor where the server itself fails."""
    caplog.set_level(logging.DEBUG)
    async with secured_api() as api:

        async def fail(request: object) -> Response:
            raise ZeroDivisionError("inside")

        if broken:
            api.server.first = fail
        for header in ("Bearer canary", "Basic canary", "bearer canary"):
            answer = await api.ask("", "GET", "/api/v1/pods", None, authorization=header)
            assert answer.status in (401, 403, 500)
            assert "canary" not in str(answer.body)
    assert "canary" not in caplog.text
    assert ("inside" in caplog.text) is broken


# --- certificates, over TLS (U03, U22) --------------------------------------------------------------------------------

NOW = SystemClock().wall()
OURS, THEIRS = create_ca("ours", NOW), create_ca("theirs", NOW)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    pair = issue(OURS, "server", now=NOW, dns_names=["localhost"], ips=["127.0.0.1"], usages=(SERVER,))
    chain = Chain((CertificateAuthenticator(SystemClock()),))

    async def who(request: Request) -> Response:
        user = await chain(request)
        return Response(200, {}, f"{user.name} {' '.join(user.groups)}".encode())

    server = await serve(who, ssl=server_context(pair.certificate, pair.key, client_ca=OURS.certificate))
    try:
        yield server.port
    finally:
        await server.close()


async def answered(port: int, pair: Pair | None) -> str:
    """Who the server takes the client for; empty where it does not speak to it."""
    tls = client_context(
        ca=OURS.certificate, certificate=pair.certificate if pair else None, key=pair.key if pair else None
    )
    async with Client(f"https://127.0.0.1:{port}", ssl=tls) as client:
        try:
            async with asyncio.timeout(5):
                return (await (await client.send(Request("GET", "/"))).read()).decode()
        except ClientError:
            return ""


def client_pair(ca: Pair = OURS, name: str = "jane", now: float = NOW, usages: tuple[str, ...] = (CLIENT,)) -> Pair:
    return issue(ca, name, now=now, organizations=("dev",), usages=usages, days=1)


async def test_a_certificate_of_ours_is_its_user_and_none_is_nobody() -> None:
    async with listening() as port:
        assert await answered(port, client_pair()) == "jane dev system:authenticated"
        assert await answered(port, None) == "system:anonymous system:unauthenticated"


@pytest.mark.parametrize(
    "pair",
    [
        client_pair(THEIRS), client_pair(now=NOW - 10 * 86400), client_pair(now=NOW + 10 * 86400),
        client_pair(usages=(SERVER,)), THEIRS,
    ],
    ids=["another authority", "expired", "not yet", "a server's", "self-signed"],
)  # fmt: skip
async def test_a_certificate_that_is_wrong_in_any_way_ends_the_handshake(pair: Pair) -> None:
    async with listening() as port:
        assert await answered(port, pair) == ""


async def test_old_tls_is_refused() -> None:
    async with listening() as port:
        tls = client_context(ca=OURS.certificate)
        tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        tls.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            tls.maximum_version = ssl.TLSVersion.TLSv1_1
        async with Client(f"https://127.0.0.1:{port}", ssl=tls) as client:
            with pytest.raises(ClientError):
                await client.send(Request("GET", "/"))


async def test_headers_that_came_twice_are_two_values_and_one_with_a_comma_is_one() -> None:
    """U04: over a connection, where the lines are what was sent."""
    seen: list[list[str]] = []

    async def note(request: Request) -> Response:
        seen.append(request.lines("x-remote-group"))
        return Response(200, {"X": request.headers.get("x-remote-group", "")})

    server = await serve(note)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        twice = (("x-remote-group", "a, b"), ("X-Remote-Group", "c"), ("x-remote-group", ""))
        response = await client.send(Request("GET", "/", "", {}, repeated=twice))
        assert response.headers["x"].rstrip() == "a, b, c,"
        await client.send(Request("GET", "/", "", {"x-remote-group": "a, b"}))
        await client.send(Request("GET", "/"))
    await server.close()
    assert seen == [["a, b", "c", ""], ["a, b"], []]


# --- without its defence, an attack succeeds --------------------------------------------------------------------------


def anybody_s(grants: Grants, attributes: Attributes) -> bool:
    return True


def trusts_all(certificate: bytes, key: bytes, *, client_ca: bytes = b"") -> ssl.SSLContext:
    context = strict(certificate, key, client_ca=client_ca + THEIRS.certificate)
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return context


def weak(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")


def for_the_router(paths: Paths, path: str) -> Address | None:
    """Which reads a path as a file system would, while the authorizer believes its beginning."""
    return parse(normpath(unquote(path)).replace("//", "/"))


def for_the_authorizer(http: Request, address: Address, params: dict[str, list[str]]) -> Attributes:
    return msgspec.structs.replace(attributes_of(http, address, params), resource="configmaps")


def overridden(understand: Understand, http: Request) -> ApiRequest:
    http.method = next((value for name, value in http.headers.items() if "method" in name), http.method)
    return as_it_came(understand, http)


def told_of(request: Request) -> str:
    logging.getLogger("auth").debug("it has %s", request.headers.get("authorization"))
    return token_in(request)


async def as_before(chain: Chain, request: Request) -> User:
    return KNOWN.setdefault(request.peer.address, await by_chain(chain, request))


KNOWN: dict[str, User] = {}
NO_CHECK_TIME = 0x200000
as_it_came, by_chain, strict = Understand.__call__, Chain.__call__, server_context
TWO_READERS = {
    "kybern.apiserver.paths.Paths.address": for_the_router,
    "kybern.apiserver.layers.understand.attributes_of": for_the_authorizer,
}

PROVEN: list[tuple[Callable[..., Awaitable[None]], tuple[object, ...], dict[str, object]]] = [
    (test_the_anonymous_get_what_is_granted_to_them_and_no_more, (), {"kybern.apiserver.auth.rbac.allows": anybody_s}),
    *(
        (test_no_spelling_of_a_path_is_read_in_one_way_by_the_authorizer_and_in_another_by_the_router, (path,), TWO_READERS)
        for path in (
            "/api//v1/namespaces/x/secrets",
            "/healthz/../api/v1/namespaces/x/secrets",
            "/api/v1/namespaces/x/configmaps/%2e%2e/secrets",
            "/api/v1/namespaces/x/configmaps%2f..%2fsecrets",
        )
    ),
    (test_no_header_makes_one_method_another, ("x_http_method_override",), {"kybern.apiserver.server.Understand.__call__": overridden}),
    (test_a_connection_remembers_nobody, (), {"kybern.apiserver.auth.chain.Chain.__call__": as_before}),
    *(
        (test_a_certificate_that_is_wrong_in_any_way_ends_the_handshake, (pair,), {f"{__name__}.server_context": trusts_all})
        for pair in (client_pair(THEIRS), client_pair(now=NOW - 10 * 86400), client_pair(now=NOW + 10 * 86400))
    ),
    (test_headers_that_came_twice_are_two_values_and_one_with_a_comma_is_one, (), {"kybern.web.http1.pairs": lambda repeated: ()}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "values", "mutants"), PROVEN)
async def test_without_its_defence_the_row_fails(
    row: Callable[..., Awaitable[None]],
    values: tuple[object, ...],
    mutants: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    KNOWN.clear()
    for defence, mutant in mutants.items():
        monkeypatch.setattr(defence, mutant)
    with pytest.raises(AssertionError):
        await row(*values)


async def test_a_server_that_told_of_its_headers_would_show_a_token(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kybern.apiserver.auth.bearer.token_in", told_of)
    with pytest.raises(AssertionError):
        await test_no_log_shows_a_token(caplog, broken=False)


async def test_with_weak_suites_old_tls_would_be_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.web.tls.strengthen", weak)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_old_tls_is_refused()
