"""Making many objects at once, so that one commit to disk serves them all."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kybern.api.errors import AlreadyExists
from kybern.apiserver.request import Objects


async def in_parallel(*work: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.TaskGroup() as group:
        for item in work:
            group.create_task(item)


async def ensure(objects: Objects, wanted: Any) -> None:
    """Made where it is missing; left alone where it is there."""
    if objects.get(type(wanted), wanted.metadata.name, wanted.metadata.namespace or "") is None:
        try:
            await objects.create(wanted)
        except AlreadyExists:  # by another API server on the same store
            pass
