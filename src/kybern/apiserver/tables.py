"""Tables: what `kubectl get` prints, computed by the server from a resource's columns (meta/v1 Table)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec

from kybern.aio.beside import beside
from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import decode
from kybern.api.custom import is_custom
from kybern.apiserver.frames import INITIAL_EVENTS_END
from kybern.apiserver.item import Item, metadata_of
from kybern.apiserver.meta import meta_of
from kybern.apiserver.openapi.descriptions import Descriptions
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
    Column("Name", lambda obj, now: meta_of(obj).name or "", format="name", of="meta_v1.ObjectMeta.name"),
    Column("Created At", created_at, "date", of="meta_v1.ObjectMeta.creationTimestamp"),
)


class Row(msgspec.Struct, omit_defaults=True):
    cells: Sequence[Any]
    conditions: Sequence[Mapping[str, str]] = ()
    object: msgspec.Raw | None = None


def definitions(resource: Resource) -> msgspec.Raw:
    """What the columns are. Those of custom kinds are as long as somebody likes, and come and go: they are not kept."""
    columns = resource.columns or PLAIN_COLUMNS
    return told(columns, description_of) if is_custom(resource.kind.type) else kept(columns)


KEPT: dict[tuple[Column, ...], msgspec.Raw] = {}
"""Of the built-in kinds."""


def kept(columns: tuple[Column, ...]) -> msgspec.Raw:
    found = KEPT.get(columns)
    if found is None:
        found = KEPT[columns] = told(columns, Descriptions().of_field)
    return found


async def described(resource: Resource) -> None:
    """What the columns mean is read from files; the first who wants a table of a kind makes nobody else wait for that."""
    columns = resource.columns or PLAIN_COLUMNS
    if columns not in KEPT and not is_custom(resource.kind.type):
        await beside(lambda: kept(columns))


@cache
def description_of(field: str) -> str:
    return Descriptions().of_field(field)


def told(columns: tuple[Column, ...], look_up: Callable[[str], str]) -> msgspec.Raw:
    found = [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or (look_up(column.of) if column.of else ""),
            "priority": column.priority,
        }
        for column in columns
    ]
    return msgspec.Raw(_encode(found))


def ends_initial_events(obj: Obj) -> bool:
    """Whether it says so in its metadata, which the reader of a watch is shown even where he wants no objects."""
    return (meta_of(obj).annotations or {}).get(INITIAL_EVENTS_END) == "true"


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
        return order(obj) if order else None, self._row(obj, served)

    def alone(self, served: bytes, *, columns: bool = True) -> bytes:
        """A table with one row."""
        obj = decode(self.resource.kind.type, served)
        version = meta_of(obj).resource_version
        meta = {"resourceVersion": version} if version else {}
        return b"".join((self.head(meta, columns=columns), self._row(obj, served), TAIL))

    def _row(self, obj: Obj, served: bytes) -> bytes:
        cells = [column.cell(obj, self.now) for column in self.columns]
        return _encode(Row(cells, self.resource.row_conditions(obj), self._object(obj, served)))

    def _object(self, obj: Obj, served: bytes) -> msgspec.Raw | None:
        if self.include == "None" and not ends_initial_events(obj):
            return None
        return msgspec.Raw(served if self.include == "Object" else partial(served, self.version))

    def head(self, meta: Mapping[str, Any], *, columns: bool = True) -> bytes:
        """What stands before the rows; `columns`: whether it says what the columns are."""
        table: dict[str, Any] = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self.version}",
            "metadata": meta,
            "columnDefinitions": definitions(self.resource) if columns else None,
            "rows": [],
        }
        return _encode(table).removesuffix(TAIL)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.resource.columns or PLAIN_COLUMNS


async def table_of_all(printer: Printer, items: Sequence[Item], list_meta: Mapping[str, Any]) -> Joined:
    await described(printer.resource)
    rows = await in_turns(lambda item: printer.row(item.sent()), items, DECODED_BYTES)
    if printer.resource.table_order is not None:
        rows.sort(key=itemgetter(0))
    return Joined(printer.head(list_meta), [row for _, row in rows], b",", TAIL)


def partial(served: bytes, version: str) -> bytes:
    """meta/v1 PartialObjectMetadata."""
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'.encode()
    return head + metadata_of(served) + b"}"
