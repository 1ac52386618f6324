"""Whether a pod tolerates a taint."""

from collections.abc import Iterable

from kybern.api.core_v1 import Toleration
from kybern.reconcile.tolerations import tolerates
from kybern.scheduler.columns import Taint


def tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return any(tolerates(toleration, *taint) for toleration in tolerations)
