"""/healthz, /livez, /readyz: one word, or with `?verbose` one line a check; every check also has an address of its own."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice

from kybern.api.errors import NotFound
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response

Check = Callable[[], Awaitable[str]]
"""What is wrong; empty when nothing is."""

EXCLUDED_MAX = 100
ROOTS = ("healthz", "livez", "readyz")
HEADERS = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache, private",
}


class Health:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.checks = checks

    def paths(self) -> Iterator[tuple[str, Layer]]:
        for root in ROOTS:
            yield f"/{root}", self._all(root)
            for name in self.checks:
                yield f"/{root}/{name}", self._one(name)

    def _all(self, root: str) -> Layer:
        async def answer(request: ApiRequest) -> Response:
            excluded = excluded_by(request.params.get("exclude", ()))
            lines, failed = [], False
            for name, check in self.checks.items():
                if name in excluded:
                    lines.append(f"[+]{name} excluded: ok")
                elif await check():
                    lines.append(f"[-]{name} failed: reason withheld")
                    failed = True
                else:
                    lines.append(f"[+]{name} ok")
            unknown = ",".join(f'"{name}"' for name in sorted(excluded - {"", *self.checks}))
            if unknown:
                lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
            if failed:
                return text(500, "\n".join([*lines, f"{root} check failed", ""]))
            if "verbose" in request.params:
                return text(200, "\n".join([*lines, f"{root} check passed", ""]))
            return text(200, "ok")

        return answer

    def _one(self, name: str) -> Layer:
        async def answer(request: ApiRequest) -> Response:
            check = self.checks.get(name)
            if check is None:
                raise NotFound("the server could not find the requested resource")
            wrong = await check()
            return text(500, f"internal server error: {wrong}\n") if wrong else text(200, "ok")

        return answer


def excluded_by(texts: Sequence[str]) -> set[str]:
    """The names of checks that are left out. Anybody may ask: of very many, those that come first."""
    each = (name for text in texts for name in text.split(",", EXCLUDED_MAX))
    return set(islice(each, EXCLUDED_MAX))


def text(status: int, body: str) -> Response:
    return Response(status, HEADERS, body.encode())


async def well() -> str:
    return ""
