"""Answers requests by HTTPRoutes: the rule, its filters in their order, one of its backends by weight.

    request    preflight of CORS, which ends it → header modifier → redirect, which ends it → URL rewrite → mirror → backend
    answer     header modifier and CORS of the backend, then of the rule

A mirrored request goes to its second place beside the first; what comes back from there is not looked at. A body that
still streams in is not mirrored, nor is a connection that is to be taken over: there is one of it only.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.network.gateway.cors import is_preflight, preflight, shared
from kybern.network.gateway.objects import (
    HeaderFilter,
    MirrorFilter,
    PathModifier,
    RedirectFilter,
    RewriteFilter,
    RouteFilter,
)
from kybern.network.gateway.routing import Asked, Backend, Hosts, Rule, asked
from kybern.network.ingress.carrying import ATTEMPTS_MAX, TEXT, Again, Carrier, let_go, tell
from kybern.network.ingress.routing import Target, bare_host
from kybern.web.http import Handler, Request, Response
from kybern.web.passing import wants_upgrade

VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # of a header: more would end its line, or has no byte
MIRRORS_MAX = 100
MIRRORS_AT_ONCE = 10  # a place that is slow to answer does not keep the others' waiting
USUAL_PORTS = {"http": 80, "https": 443}
UNITS = (("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0))


class GatewayProxy:
    def __init__(self, clock: Clock, carrier: Carrier) -> None:
        self.clock, self.carrier = clock, carrier
        self.ports: Mapping[int, Hosts] = {}
        self.mirrors: asyncio.Queue[tuple[Request, Target]] = asyncio.Queue(MIRRORS_MAX)

    def use(self, ports: Mapping[int, Hosts]) -> None:
        """From the next request on."""
        self.ports = ports

    def targets(self) -> list[Target]:
        rules = [rule for found in self.ports.values() for rule in found.rules()]
        backends = [backend.target for rule in rules for backend in rule.backends if backend.target]
        filters = [
            one for rule in rules for part in (rule.filters, *(b.filters for b in rule.backends)) for one in part
        ]
        return [*backends, *(one.mirror for one in filters if one.mirror)]

    async def run(self) -> None:
        """Sends what is mirrored; when more comes than is taken, what comes is left out."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(MIRRORS_AT_ONCE):
                tasks.create_task(self.send_mirrored())

    async def send_mirrored(self) -> None:
        while True:
            request, target = await self.mirrors.get()
            await let_go(await self.carrier.carry(request, target, attempts=1))

    def handler(self, port: int, scheme: str, otherwise: Handler | None = None) -> Handler:
        """`otherwise` answers for hosts that no listener of this port knows."""

        async def answer(request: Request) -> Response:
            found = self.ports.get(port)
            host = request.headers.get("host", "")
            if otherwise is not None and (found is None or not found.knows(host)):
                return await otherwise(request)
            began = self.clock.monotonic()
            looked_at = asked(request.path, request.query, request.method, request.headers)
            rule = found.find(host, looked_at) if found else None
            if rule is None:
                response = Response(404, TEXT, b"no route\n")
            else:
                response = await self.answered(rule, request, looked_at, port, scheme)
            tell(request, host, response, rule.route if rule else "-", (self.clock.monotonic() - began) * 1000)
            return response

        return answer

    async def answered(self, rule: Rule, request: Request, looked_at: Asked, port: int, scheme: str) -> Response:
        prefix = rule.match.path.value if rule.match.path.type == "PathPrefix" else ""
        backend = self.chosen(rule.backends)
        filters = (*rule.filters, *(backend.filters if backend else ()))
        sent = replace(request, headers=self.carrier.headers(request, scheme))
        for one in filters:
            if one.filter.type == "ExtensionRef":  # a filter that nobody here knows must not be left out
                return Response(500, TEXT, b"the route has a filter that is not supported\n")
            if not can_be_sent(one.filter):  # looked at before a backend is asked, whose answer would be nobody's
                return Response(500, TEXT, b"the route sets a header that cannot be sent\n")
            if one.filter.cors is not None and is_preflight(request):
                return preflight(one.filter.cors, request)
            if one.filter.request_redirect is not None:
                return redirect(one.filter.request_redirect, request, prefix, port, scheme)
            sent = filtered(one.filter, sent, prefix)
            if one.mirror is not None:
                self.mirror(sent, one.mirror, one.filter.request_mirror)
        if backend is None or backend.target is None:
            return Response(500, TEXT, b"the route leads to no backend\n")
        response = await self.carried(rule, sent, backend.target)
        for one in reversed(filters):
            if one.filter.response_header_modifier is not None:
                response.headers = modified(response.headers, one.filter.response_header_modifier)
            if one.filter.cors is not None:
                response.headers = shared(one.filter.cors, request, response.headers)
        return response

    async def carried(self, rule: Rule, sent: Request, target: Target) -> Response:
        timeouts, retry = rule.rule.timeouts, rule.rule.retry
        whole, each = (seconds_of(timeouts.request), seconds_of(timeouts.backend_request)) if timeouts else (None, None)
        again = None
        if retry is not None:
            pause = partial(self.clock.sleep, seconds_of(retry.backoff) or 0.0)
            again = Again(retry.attempts or ATTEMPTS_MAX - 1, retry.codes, pause)
        try:
            async with timeout(whole):
                return await self.carrier.carry(sent, target, each, again=again)
        except TimeoutError:
            return Response(504, TEXT, b"the request was not answered in time\n")

    def chosen(self, backends: Sequence[Backend]) -> Backend | None:
        weights = [backend.weight for backend in backends]
        return self.carrier.rng.choices(backends, weights)[0] if any(weights) else None

    def mirror(self, request: Request, target: Target, by: MirrorFilter | None) -> None:
        chosen = self.carrier.rng.random() < (1.0 if by is None else share(by))
        several = isinstance(request.body, bytes) and not wants_upgrade(request)
        if chosen and several and not self.mirrors.full():
            self.mirrors.put_nowait((request, target))


def share(by: MirrorFilter) -> float:
    """Of the requests, those that are mirrored."""
    if by.fraction is not None:
        return by.fraction.numerator / by.fraction.denominator
    return 1.0 if by.percent is None else by.percent / 100


def can_be_sent(one: RouteFilter) -> bool:
    modifiers = filter(None, (one.request_header_modifier, one.response_header_modifier))
    return all(VALUE.fullmatch(entry.value) for by in modifiers for entry in (*by.set, *by.add))


def filtered(one: RouteFilter, request: Request, prefix: str) -> Request:
    if one.request_header_modifier is not None:
        return replace(request, headers=modified(request.headers, one.request_header_modifier))
    if one.url_rewrite is not None:
        return rewritten(one.url_rewrite, request, prefix)
    return request


def modified(headers: Mapping[str, str], by: HeaderFilter) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    for entry in by.set:
        found[entry.name.lower()] = entry.value
    for entry in by.add:
        before = found.get(entry.name.lower())
        found[entry.name.lower()] = f"{before}, {entry.value}" if before else entry.value
    for name in by.remove:
        found.pop(name.lower(), None)
    return found


def rewritten(by: RewriteFilter, request: Request, prefix: str) -> Request:
    headers = {**request.headers, "host": by.hostname} if by.hostname else request.headers
    path = changed_path(by.path, request.path, prefix) if by.path else request.path
    return replace(request, headers=headers, path=path)


def changed_path(by: PathModifier, path: str, prefix: str) -> str:
    """What follows the prefix that matched stays, behind one slash."""
    if by.type == "ReplaceFullPath":
        return by.replace_full_path or "/"
    rest = path[len(prefix.rstrip("/")) :].lstrip("/")
    base = (by.replace_prefix_match or "").rstrip("/")
    return f"{base}/{rest}" if rest or not base else base


def redirect(by: RedirectFilter, request: Request, prefix: str, port: int, scheme: str) -> Response:
    to = by.scheme or scheme
    number = by.port or (USUAL_PORTS[to] if by.scheme else port)
    host = by.hostname or bare_host(request.headers.get("host", ""))
    where = host + ("" if number == USUAL_PORTS[to] else f":{number}")
    path = changed_path(by.path, request.path, prefix) if by.path else request.path
    query = f"?{request.query}" if request.query else ""
    return Response(by.status_code, {"Location": f"{to}://{where}{path}{query}"})


def seconds_of(duration: str | None) -> float | None:
    """None where there is no limit; `0s` is none."""
    total, rest = 0.0, duration or ""
    while rest:
        digits = rest[: next(at for at, letter in enumerate(rest) if not letter.isdecimal())]
        unit, factor = next((unit, factor) for unit, factor in UNITS if rest[len(digits) :].startswith(unit))
        total += int(digits) * factor
        rest = rest[len(digits) + len(unit) :]
    return total or None
