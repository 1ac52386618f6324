"""Answers in protobuf, made from the JSON that the cache holds; nothing of them is kept.

- A list is encoded item by item, with a pause for others every few items; its length is known only at the end.
- A watch event is encoded once for all who are told of it: the last object is remembered, and they are told in a row.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kybern.api.codec import untyped
from kybern.api.kind import Kind
from kybern.api.protobuf.encode import block, encode, encode_fields, enveloped
from kybern.api.protobuf.table import message_of
from kybern.apiserver.item import metadata_of

PROTOBUF = "application/vnd.kubernetes.protobuf"
ITEMS_AT_ONCE = 32  # of a list, before others get their turn: some 5 ms
LIST_META, LIST_ITEMS = 1, 2  # field numbers, the same in every list

METADATA = "meta_v1.PartialObjectMetadata"
METADATA_LIST = ("meta.k8s.io/v1", "PartialObjectMetadataList")


def as_protobuf(body: bytes) -> bytes:
    """An object's JSON in the other form."""
    return encode(untyped(body))


async def listed(
    kind: Kind, meta: Mapping[str, Any], served: Sequence[bytes], *, metadata_only: bool = False
) -> list[bytes]:
    """A list's body, in pieces."""
    names = METADATA_LIST if metadata_only else (kind.api_version, kind.list_kind)
    message = METADATA if metadata_only else message_of(kind.api_version, kind.kind) or ""
    pieces = [block(LIST_META, encode_fields(meta, "meta_v1.ListMeta"))]
    for first in range(0, len(served), ITEMS_AT_ONCE):
        some = served[first : first + ITEMS_AT_ONCE]
        if metadata_only:
            objects = [{"metadata": untyped(metadata_of(one))} for one in some]
        else:
            objects = [untyped(one) for one in some]
        pieces.append(b"".join([block(LIST_ITEMS, encode_fields(obj, message)) for obj in objects]))
        await asyncio.sleep(0)
    return enveloped(*names, pieces)


# The watch event's own message: type=1, object=2, and in the latter raw=1.


def binary_frame(type_: str, obj: bytes) -> bytes:
    event = block(1, type_.encode()) + block(2, block(1, last_encoded(obj)))
    return len(event).to_bytes(4, "big") + event


@lru_cache(1)
def last_encoded(obj: bytes) -> bytes:
    return as_protobuf(obj)
