"""Publish: an object is there with the contents that it is to have, whoever deletes or changes it."""

from typing import Any

from msgspec.structs import replace

from kybern.api.errors import AlreadyExists
from kybern.client import Client


async def publish(wanted: Any, known: Any | None, contents: str, client: Client) -> None:
    """`known`: the object as it is in the View. `contents`: the name of the field that matters; all else is others'."""
    if known is None:
        try:
            await client.create(wanted)
        except AlreadyExists:
            pass
    elif getattr(known, contents) != getattr(wanted, contents):
        await client.update(replace(known, **{contents: getattr(wanted, contents)}))
