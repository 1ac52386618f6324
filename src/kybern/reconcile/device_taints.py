"""Taints of devices: which devices a DeviceTaintRule is for, and which taints a request or an allocation tolerates."""

from collections.abc import Iterable

from kybern.api.resource_v1 import DeviceTaint, DeviceTaintSelector, DeviceToleration
from kybern.reconcile.tolerations import tolerates


def selects(selector: DeviceTaintSelector | None, driver: str, pool: str, device: str) -> bool:
    """Without a selector a rule is for no device; each thing that a selector names has to be so."""
    if selector is None:
        return False
    wishes = ((selector.driver, driver), (selector.pool, pool), (selector.device, device))
    return all(wished in (None, known) for wished, known in wishes)


def tolerating(tolerations: Iterable[DeviceToleration] | None, taint: DeviceTaint) -> list[DeviceToleration]:
    return [one for one in tolerations or () if tolerates(one, taint.key, taint.value or "", taint.effect)]
