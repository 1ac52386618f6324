"""A webhook's match conditions: whether it is to be asked about this request at all."""

from typing import Any

from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.values import values_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.request import Authorizer
from kybern.cel.pace import aside
from kybern.registry.matchconditions import Condition, compiled, hold
from kybern.registry.resource import LARGE_BYTES


async def of_hook_hold(webhook: Any, versioned: Versioned, authorizer: Authorizer) -> bool:
    """Broken where that cannot be said."""

    def made(at_once: int | None = None) -> tuple[Condition, ...]:
        return tuple(map(compiled, webhook.match_conditions))

    length = sum(len(condition.expression) for condition in webhook.match_conditions)
    asking = Asking(versioned.admission.user, authorizer)
    conditions = await aside(made) if length > LARGE_BYTES else made()
    return await asking.evaluated(lambda at_once: hold(conditions, values_of(versioned, asking), at_once))
