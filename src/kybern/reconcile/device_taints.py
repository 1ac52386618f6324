"""Taints of devices: which devices a DeviceTaintRule is for, and which taints a request or an allocation tolerates."""

from kybern.api.resource_v1 import DeviceTaint, DeviceTaintSelector, DeviceToleration


def selects(selector: DeviceTaintSelector | None, driver: str, pool: str, device: str) -> bool:
    """Without a selector a rule is for no device; each thing that a selector names has to be so."""
    if selector is None:
        return False
    wishes = ((selector.driver, driver), (selector.pool, pool), (selector.device, device))
    return all(wished in (None, known) for wished, known in wishes)


def tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.value or "")
