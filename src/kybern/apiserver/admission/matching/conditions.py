"""A webhook's match conditions: whether it is to be asked about this request at all."""

from typing import Any

from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.values import values_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.request import Authorizer
from kybern.registry.matchconditions import compiled, hold


async def of_hook_hold(webhook: Any, versioned: Versioned, authorizer: Authorizer) -> bool:
    """Broken where that cannot be said."""
    asking = Asking(versioned.admission.user, authorizer)
    conditions = tuple(map(compiled, webhook.match_conditions))
    return await asking.evaluated(lambda at_once: hold(conditions, values_of(versioned, asking), at_once))
