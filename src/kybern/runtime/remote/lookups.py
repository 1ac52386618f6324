"""Sandboxes and containers by what others call them: an id, which may be cut short as long as it says which."""

from collections.abc import Sequence
from typing import Any

from kybern.runtime.cri import ContainerState, ContainerStatus, Runtime, RuntimeFault, SandboxStatus


class Lookups:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def sandbox_or_none(self, identifier: str) -> SandboxStatus | None:
        found: SandboxStatus | None = one(await self.runtime.list_pod_sandboxes(), identifier)
        return found

    async def sandbox(self, identifier: str) -> SandboxStatus:
        found = await self.sandbox_or_none(identifier)
        if found is None:
            raise RuntimeFault("NotFound", f"sandbox {identifier!r} not found")
        return found

    async def container_or_none(self, identifier: str) -> ContainerStatus | None:
        found: ContainerStatus | None = one(await self.runtime.list_containers(), identifier)
        return found

    async def container(self, identifier: str) -> ContainerStatus:
        found = await self.container_or_none(identifier)
        if found is None:
            raise RuntimeFault("NotFound", f"container {identifier!r} not found")
        return found

    async def running(self, identifier: str) -> ContainerStatus:
        found = await self.container(identifier)
        if found.state is not ContainerState.RUNNING:
            raise RuntimeFault("FailedPrecondition", f"container {found.id!r} is not running")
        return found


def one(found: Sequence[Any], identifier: str) -> Any:
    """The one whose id begins so; RuntimeFault when there are several."""
    named = [each for each in found if each.id == identifier] or [
        each for each in found if identifier and each.id.startswith(identifier)
    ]
    if len(named) > 1:
        raise RuntimeFault("Invalid", f"{identifier!r} may be {len(named)} ids")
    return named[0] if named else None
