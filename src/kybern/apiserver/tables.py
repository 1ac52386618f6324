"""Tables: what `kubectl get` prints, computed by the server from a resource's columns (meta/v1 Table)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import decode
from kybern.apiserver.item import Item, metadata_of
from kybern.apiserver.meta import meta_of
from kybern.apiserver.turns import DECODED_BYTES, in_turns
from kybern.registry.resource import Column, Obj, Resource
from kybern.web.http import Joined

TAIL = b"]}"
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
    conditions: Sequence[Mapping[str, str]] = ()
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


@dataclass(frozen=True, slots=True)
class Printer:
    """Objects as the rows of a table, in the form that its reader asked for."""

    resource: Resource
    version: str
    now: float
    include: str

    def row(self, served: bytes) -> tuple[Any, bytes]:
        """A row, and where it belongs among others."""
        obj = decode(self.resource.kind.type, served)
        order = self.resource.table_order
        cells = [column.cell(obj, self.now) for column in self.columns]
        row = Row(cells, self.resource.row_conditions(obj), self._object(served))
        return order(obj) if order else None, _encode(row)

    def _object(self, served: bytes) -> msgspec.Raw | None:
        if self.include == "None":
            return None
        return msgspec.Raw(served if self.include == "Object" else partial(served, self.version))

    def head(self, list_meta: Mapping[str, Any]) -> bytes:
        """What stands before the rows."""
        table = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self.version}",
            "metadata": list_meta,
            "columnDefinitions": definitions(self.columns),
            "rows": [],
        }
        return _encode(table).removesuffix(TAIL)

    @property
    def columns(self) -> Sequence[Column]:
        return self.resource.columns or PLAIN_COLUMNS


def table_of(resource: Resource, served: bytes, version: str, now: float, include: str) -> bytes:
    """A table with one row."""
    printer = Printer(resource, version, now, include)
    return b"".join((printer.head({}), printer.row(served)[1], TAIL))


async def table_of_all(printer: Printer, items: Sequence[Item], list_meta: Mapping[str, Any]) -> Joined:
    rows = await in_turns(lambda item: printer.row(item.sent()), items, DECODED_BYTES)
    if printer.resource.table_order is not None:
        rows.sort(key=itemgetter(0))
    return Joined(printer.head(list_meta), [row for _, row in rows], b",", TAIL)


def partial(served: bytes, version: str) -> bytes:
    """meta/v1 PartialObjectMetadata."""
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'.encode()
    return head + metadata_of(served) + b"}"
