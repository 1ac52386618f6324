"""How a field merges: the facts about a type that its Python annotation cannot say.

Every generated field that upstream marks with `x-kubernetes-*` carries one `Shape` inside `Annotated`.
Strategic merge patch, server-side apply and OpenAPI read it from there; nothing else stores it.

- `required`: the field is always written, even when it has its zero value.
- `list_type` with `map_keys`, `map_type`, `items_atomic`: who owns what under server-side apply (KEP-555).
- `patch_strategy` with `merge_key`: how strategic merge patch combines lists and maps.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True)
class Shape:
    required: bool = False
    list_type: Literal["atomic", "set", "map"] | None = None
    map_keys: tuple[str, ...] = ()
    map_type: Literal["atomic", "granular"] | None = None
    items_atomic: bool = False
    """Each item of the list has one owner as a whole."""
    patch_strategy: str | None = None
    merge_key: str | None = None


NO_SHAPE = Shape()

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1, extra={"format": "int32"})]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, extra={"format": "int64"})]
Float64 = Annotated[float, Meta(extra={"format": "double"})]
Base64 = Annotated[str, Meta(extra={"format": "byte"})]
"""Bytes in base64, kept as the text they travel in."""

Time = Annotated[str, Meta(extra={"format": "date-time"})]
"""RFC 3339 in UTC, whole seconds: `2026-01-31T08:00:00Z`. Such texts sort as the moments do."""

MicroTime = Annotated[str, Meta(extra={"format": "date-time", "micro": True})]
"""RFC 3339 in UTC with six decimals."""

IntOrString = int | str


class Quantity(str):
    """An amount in upstream's canonical text (`500m`, `1Gi`); `api.quantity` computes with it."""

    __slots__ = ()


def zero_text() -> str:
    return ""


def zero_number() -> int:
    return 0


def no_items() -> tuple[()]:
    return ()


def no_entries() -> dict[str, Any]:
    return {}


def no_amount() -> Quantity:
    return Quantity("0")


def false() -> bool:
    return False
