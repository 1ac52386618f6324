"""Quantities: `500m` CPUs, `1Gi` bytes. Placeholder interface; see the functions' contracts."""

from typing import Any

from kybern.api.shape import Quantity


def canonical(value: Any) -> Quantity:
    """Upstream's canonical text of a quantity given as text or number. ValueError where it is none."""
    return Quantity(value)
