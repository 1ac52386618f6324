"""What the network reads of a View, and EndpointSlices by the service they belong to."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from kybern.aio.timeouts import timeout
from kybern.api.discovery_v1 import EndpointSlice

SERVICE_LABEL = "kubernetes.io/service-name"

T = TypeVar("T")

Apply = Callable[[str], Awaitable[None]]
"""Hands a transaction to the kernel; RulesRefused when it says no."""


class Followed(Protocol):
    """The part of a View that is used here."""

    def get(self, type: type[T], name: str, namespace: str = "") -> T | None: ...

    def list(self, type: type[T], namespace: str | None = None) -> Sequence[T]: ...

    def on_change(self, type: type[T], call: Callable[[T | None, T | None], None]) -> None: ...


class EndpointSlices:
    """Slices by (namespace, service), kept current one slice at a time."""

    def __init__(self) -> None:
        self.of_service: dict[tuple[str, str], list[EndpointSlice]] = {}

    def replace(self, old: EndpointSlice | None, new: EndpointSlice | None) -> list[tuple[str, str]]:
        """The services whose endpoints changed."""
        touched = []
        if old is not None:
            key = service_of(old)
            left = [piece for piece in self.of_service.get(key, ()) if piece.metadata.name != old.metadata.name]
            self._put(key, left)
            touched.append(key)
        if new is not None:
            key = service_of(new)
            others = [piece for piece in self.of_service.get(key, ()) if piece.metadata.name != new.metadata.name]
            self._put(key, [*others, new])
            touched.append(key)
        return touched

    def _put(self, key: tuple[str, str], slices: list[EndpointSlice]) -> None:
        if slices:
            self.of_service[key] = slices
        else:
            self.of_service.pop(key, None)


def service_of(piece: EndpointSlice) -> tuple[str, str]:
    return piece.metadata.namespace or "", (piece.metadata.labels or {}).get(SERVICE_LABEL, "")


async def changed_within(changed: asyncio.Event, seconds: float | None) -> None:
    """Until something changes, and no longer than this: what failed is tried again then."""
    with contextlib.suppress(TimeoutError):
        async with timeout(seconds):
            await changed.wait()
