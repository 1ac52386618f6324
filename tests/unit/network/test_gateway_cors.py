"""What a browser is told of who may use an answer."""

from typing import Any

import pytest
from msgspec import convert

from kybern.network.gateway.cors import is_allowed, is_preflight, preflight, shared
from kybern.network.gateway.objects import CorsFilter
from kybern.web.http import Request

PREFLIGHT = {
    "origin": "https://www.a.io", "access-control-request-method": "PUT", "access-control-request-headers": "x-one, x-two",
}  # fmt: skip


def asking(method: str = "OPTIONS", **headers: str) -> Request:
    return Request(method, "/", "", {**PREFLIGHT, **headers}, b"")


def by(**fields: Any) -> CorsFilter:
    return convert({"allowOrigins": ["https://www.a.io"], **fields}, CorsFilter)


@pytest.mark.parametrize(
    ("origin", "allowed", "holds"),
    [
        ("https://a.io", ["*"], True),
        ("", ["*"], False),
        ("https://a.io", [], False),
        ("https://a.io", ["https://b.io", "https://a.io"], True),
        ("http://a.io", ["https://a.io"], False),
        ("https://a.io:443", ["https://a.io"], True),
        ("http://a.io:8080", ["http://a.io"], False),
        ("https://x.y.a.io", ["https://*.a.io"], True),
        ("https://a.io", ["https://*.a.io"], False),
        ("https://.a.io", ["https://*.a.io"], False),
        ("https://evila.io", ["https://*.a.io"], False),
        ("https://any:8080", ["https://*:8080"], True),
        ("https://any", ["https://*:8080"], False),
        ("null", ["https://*"], False),
        ("https://a:b:c", ["https://*"], False),
        ("https://[", ["https://*"], False),
    ],
)
def test_an_origin_is_allowed_by_scheme_host_and_port(origin: str, allowed: list[str], holds: bool) -> None:
    assert is_allowed(origin, allowed) is holds


def test_a_preflight_is_told_what_is_allowed_and_a_stranger_nothing() -> None:
    listed = by(
        allowMethods=["GET", "PUT"], allowHeaders=["x-one"], exposeHeaders=["x-three"], allowCredentials=True, maxAge=60
    )
    found = preflight(listed, asking())
    assert found.status == 204 and found.headers == {
        "vary": "Origin",
        "access-control-allow-origin": "https://www.a.io",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-one",
        "access-control-expose-headers": "x-three",
        "access-control-max-age": "60",
    }
    assert preflight(listed, asking(origin="https://evil.io")).headers == {"vary": "Origin"}


def test_a_wildcard_is_told_by_what_was_asked_for() -> None:
    found = preflight(by(allowMethods=["*"], allowHeaders=["*"], exposeHeaders=["*"], allowCredentials=True), asking())
    assert found.headers["access-control-allow-methods"] == "PUT"
    assert found.headers["access-control-allow-headers"] == "x-one, x-two"
    assert "access-control-expose-headers" not in found.headers and found.headers["access-control-max-age"] == "5"
    assert shared(by(exposeHeaders=["*"]), asking("GET"), {})["access-control-expose-headers"] == "*"


def test_an_answer_is_told_by_the_route_and_not_by_its_backend() -> None:
    backends = {"Access-Control-Allow-Origin": "*", "Vary": "Accept", "X-Own": "1"}
    assert shared(by(), asking("GET"), backends) == {
        "vary": "Accept, Origin", "x-own": "1", "access-control-allow-origin": "https://www.a.io",
    }  # fmt: skip
    assert not is_preflight(asking("GET")) and is_preflight(asking())
    assert not is_preflight(Request("OPTIONS", "/", "", {"origin": "https://a.io"}, b""))
