"""Tables: what `kubectl get` prints, computed by the server from a resource's columns (meta/v1 Table)."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import decode
from kybern.apiserver.item import metadata_of
from kybern.apiserver.meta import meta_of
from kybern.registry.resource import Column, Obj, Resource

INCLUDES = ("None", "Metadata", "Object")

_encode = msgspec.json.Encoder(enc_hook=str).encode


def created_at(obj: Obj, now: float) -> str:
    """Upstream's plain column: the moment itself."""
    stamp = meta_of(obj).creation_timestamp
    return rfc3339(from_rfc3339(stamp)) if stamp else "<unknown>"


PLAIN_COLUMNS = (
    Column(
        "Name", lambda obj, now: meta_of(obj).name or "", "string", "name", 0, "Name must be unique within a namespace."
    ),
    Column("Created At", created_at, "date", "", 0, "CreationTimestamp is the moment at which the object was created."),
)


class Row(msgspec.Struct, omit_defaults=True):
    cells: Sequence[Any]
    object: msgspec.Raw | None = None


def definitions(columns: Iterable[Column]) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]


def table_of(
    resource: Resource,
    served: Iterable[bytes],
    version: str,
    now: float,
    include: str,
    *,
    list_meta: dict[str, Any] | None = None,
    headed: bool = True,
) -> bytes:
    """`headed`: with column definitions; a watch sends them with its first event only."""
    columns = resource.columns or PLAIN_COLUMNS
    pairs = [(decode(resource.kind.type, one), one) for one in served]
    if (order := resource.table_order) is not None:
        pairs.sort(key=lambda pair: order(pair[0]))
    rows = [row(obj, columns, one, version, now, include) for obj, one in pairs]
    return _encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": list_meta or {},
            "columnDefinitions": definitions(columns) if headed else [],
            "rows": rows,
        }
    )


def row(obj: Obj, columns: Iterable[Column], served: bytes, version: str, now: float, include: str) -> Row:
    cells = [column.cell(obj, now) for column in columns]
    if include == "None":
        return Row(cells)
    if include == "Object":
        return Row(cells, msgspec.Raw(served))
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'.encode()
    return Row(cells, msgspec.Raw(head + metadata_of(served) + b"}"))
