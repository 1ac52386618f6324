"""Whether a pod tolerates a taint."""

from collections.abc import Iterable

from kybern.api.core_v1 import Toleration
from kybern.scheduler.columns import Taint


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    key, value, effect = taint
    if (toleration.effect or effect) != effect or (toleration.key or key) != key:
        return False
    match toleration.operator or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.key) and (toleration.value or "") == value
        case "Lt" | "Gt" as operator:
            return compares(operator, value, toleration.value or "")
    return False


def compares(operator: str, value: str, limit: str) -> bool:
    try:
        return int(value) < int(limit) if operator == "Lt" else int(value) > int(limit)
    except ValueError:
        return False


def tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)
