"""What `deploy`, `deployments.apps` or `all` mean on this server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    plural: str
    singular: str
    kind: str
    group: str
    version: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployment.apps`: how a result names it."""
        return f"{self.kind.lower()}.{self.group}" if self.group else self.kind.lower()

    def names(self) -> set[str]:
        plain = {self.plural, self.singular or self.kind.lower(), self.kind.lower(), *self.short_names}
        return plain | {f"{name}.{self.group}" for name in plain} if self.group else plain


class Discovery:
    """Asks for the core group first, which answers most questions with one request."""

    def __init__(self, fetch: Callable[[str, str], Awaitable[Any]]) -> None:
        self.fetch = fetch
        self.core: list[Resource] | None = None
        self.everything: list[Resource] | None = None

    async def named(self, name: str) -> list[Resource]:
        """What a name means: one resource, or those of a category; nothing where the server has no such name."""
        wanted = name.lower()
        if self.core is None:
            self.core = list(resources_in(await self.fetch("GET", "/api/v1")))
        for known in (self.core, None):
            resources = known if known is not None else await self.all()
            found = next((resource for resource in resources if wanted in resource.names()), None)
            if found is not None:
                return [found]
        return [resource for resource in await self.all() if wanted in resource.categories and "list" in resource.verbs]

    async def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that an object belongs to; found in that version only."""
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            answer = await self.fetch("GET", path)
        except Exception as error:
            if getattr(error, "code", 0) == 404:
                return None
            raise
        return next((resource for resource in resources_in(answer) if resource.kind == kind), None)

    async def all(self) -> list[Resource]:
        """Every resource in its preferred version; groups that do not answer are left out."""
        if self.everything is None:
            groups = (await self.fetch("GET", "/apis"))["groups"]
            paths = [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]
            answers = await asyncio.gather(*(self.fetch("GET", path) for path in paths), return_exceptions=True)
            others = [resource for answer in answers if isinstance(answer, dict) for resource in resources_in(answer)]
            self.everything = [*(self.core or []), *others]
        return self.everything


def resources_in(answer: Any) -> Iterable[Resource]:
    group, _, version = answer["groupVersion"].rpartition("/")
    for each in answer["resources"]:
        if "/" not in each["name"]:
            yield Resource(
                plural=each["name"],
                singular=each.get("singularName") or "",
                kind=each["kind"],
                group=each.get("group") or group,
                version=each.get("version") or version,
                namespaced=each["namespaced"],
                short_names=tuple(each.get("shortNames") or ()),
                categories=tuple(each.get("categories") or ()),
                verbs=tuple(each.get("verbs") or ()),
            )
