"""An object in the watch cache: the bytes that are in the store, and what was ever derived from them.

What a client gets is the stored JSON with the resource version put into its metadata; it is encoded at most once per
revision, when somebody first asks. Labels and fields for selectors are read when the first selector looks at them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

METADATA = b'"metadata":{'

NO_LABELS: Mapping[str, str] = {}


class LabelsOnly(msgspec.Struct, frozen=True, gc=False):
    labels: dict[str, str] | None = None


class HeadOnly(msgspec.Struct, frozen=True, gc=False):
    metadata: LabelsOnly = LabelsOnly()


class MetadataOnly(msgspec.Struct, frozen=True, gc=False):
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_labels = msgspec.json.Decoder(HeadOnly)
_metadata = msgspec.json.Decoder(MetadataOnly)


class Item(msgspec.Struct, gc=False, eq=False):
    """One revision of one object. No part of it refers back to it, so the garbage collector need not look."""

    key: str
    namespace: str
    name: str
    value: bytes
    created: int
    revision: int
    fields: tuple[str, ...] | None = None
    """Values of the resource's own selectable fields, in their order, once a field selector has asked for them."""
    obj: Any = None
    """The object itself, once the server's own parts have asked for it."""
    _served: bytes | None = None
    _labels: Mapping[str, str] | None = None

    @property
    def served(self) -> bytes:
        if self._served is None:
            self._served = with_revision(self.value, self.revision)
        return self._served

    def sent(self) -> bytes:
        """The same, and not kept: most objects are sent when they are written, and then hardly ever."""
        return self._served or with_revision(self.value, self.revision)

    @property
    def labels(self) -> Mapping[str, str]:
        if self._labels is None:
            has_labels = b'"labels":' in self.value
            self._labels = (_labels.decode(self.value).metadata.labels or NO_LABELS) if has_labels else NO_LABELS
        return self._labels

    def forget_sent(self) -> None:
        """For an item that nobody has asked for in a while, maybe."""
        self._served = None

    def forget_derived(self) -> None:
        """For an item that only the history still holds."""
        self._served = None
        self.obj = None


def with_revision(value: bytes, revision: int) -> bytes:
    """Stored bytes as they are served. The first `"metadata":{` is the object's own: only kind and apiVersion precede."""
    at = value.index(METADATA) + len(METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, comma, value[at:])


def metadata_of(served: bytes) -> bytes:
    """The metadata of an object, as JSON."""
    return bytes(_metadata.decode(served).metadata)
