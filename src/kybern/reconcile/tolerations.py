"""Whether a toleration, of a pod or of a request for devices, is for a taint, of a node or of a device.

One rule for all who ask: were the scheduler to tolerate what eviction does not, a pod would come and go for ever.
"""

from kybern.api.core_v1 import Toleration
from kybern.api.resource_v1 import DeviceToleration


def tolerates(toleration: Toleration | DeviceToleration, key: str, value: str, effect: str) -> bool:
    """The taint by its key, value and effect."""
    if (toleration.effect or effect) != effect or (toleration.key or key) != key:
        return False
    return toleration.operator == "Exists" or (bool(toleration.key) and (toleration.value or "") == value)
