"""Which pages of other origins a browser lets use an answer (CORS): what is said to them, by the filter of a route.

A browser asks first (a preflight, which no backend sees), or looks at the answer. An origin that is not allowed is told
nothing, and its browser refuses it. What a wildcard stands for is said by its name: with credentials `*` would not count.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

from kybern.network.gateway.objects import CorsFilter
from kybern.web.http import Request, Response

METHOD, HEADERS = "access-control-request-method", "access-control-request-headers"
PORTS = {"http": 80, "https": 443}


def is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and "origin" in request.headers and METHOD in request.headers


def preflight(by: CorsFilter, request: Request) -> Response:
    headers = shared(by, request, {})
    if "access-control-allow-origin" in headers:
        headers["access-control-max-age"] = str(by.max_age)
        for name, listed, asked in (("methods", by.allow_methods, METHOD), ("headers", by.allow_headers, HEADERS)):
            if told := request.headers.get(asked, "") if "*" in listed else ", ".join(listed):
                headers[f"access-control-allow-{name}"] = told
    return Response(204, headers)


def shared(by: CorsFilter, request: Request, headers: Mapping[str, str]) -> dict[str, str]:
    """An answer's headers, for who asks; what the backend said of the same is replaced."""
    found = {name.lower(): value for name, value in headers.items()}
    found = {name: value for name, value in found.items() if not name.startswith("access-control-")}
    found["vary"] = f"{found['vary']}, Origin" if "vary" in found else "Origin"
    origin = request.headers.get("origin", "")
    if not is_allowed(origin, by.allow_origins):
        return found
    found["access-control-allow-origin"] = origin
    if by.allow_credentials:
        found["access-control-allow-credentials"] = "true"
    if by.expose_headers and not (by.allow_credentials and "*" in by.expose_headers):
        found["access-control-expose-headers"] = ", ".join(by.expose_headers)
    return found


def is_allowed(origin: str, allowed: Sequence[str]) -> bool:
    return bool(origin) and ("*" in allowed or any(matches(origin, pattern) for pattern in allowed))


def matches(origin: str, pattern: str) -> bool:
    """`*` is any host, `*.rest` any below it."""
    try:
        one, other = urlsplit(origin), urlsplit(pattern)
        if (one.scheme, port_of(one)) != (other.scheme, port_of(other)):
            return False
    except ValueError:
        return False
    host, wanted = one.hostname or "", other.hostname or ""
    return wanted in ("*", host) or (wanted.startswith("*.") and host.endswith(wanted[1:]) and host != wanted[1:])


def port_of(origin: SplitResult) -> int | None:
    return origin.port or PORTS.get(origin.scheme)
