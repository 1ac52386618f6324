"""Whether an APIService can be used: its Service exists, listens where it says, has somebody behind it, and answers.

The decision is made in upstream's order and words; only the last step asks the extension itself.
"""

from collections.abc import Iterable

from kybern.api.apiregistration_v1 import APIService, APIServiceCondition
from kybern.api.core_v1 import Endpoints, Service
from kybern.apiserver.request import Objects
from kybern.registry.apiservices import LOCAL

AVAILABLE = "Available"
PASSED = ("True", "Passed", "all checks passed")
IS_LOCAL = (LOCAL.status, LOCAL.reason or "", LOCAL.message or "")

Said = tuple[str, str, str]
"""status, reason, message"""


def obstacle(api: APIService, objects: Objects) -> Said | None:
    """What stands in the way, as far as the cluster itself can tell; None where the extension has to be asked."""
    ref = api.spec.service
    assert ref is not None
    namespace, name, port = ref.namespace or "", ref.name or "", ref.port or 443
    service = objects.get(Service, name, namespace)
    if service is None:
        return "False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
    if service.spec.type not in (None, "ClusterIP"):
        return None
    listening = [one for one in service.spec.ports or () if one.port == port]
    if not listening:
        return "False", "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
    endpoints = objects.get(Endpoints, name, namespace)
    if endpoints is None:
        return "False", "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"'
    port_name = listening[0].name or ""
    if not any(
        subset.addresses and any((one.name or "") == port_name for one in subset.ports or ())
        for subset in endpoints.subsets or ()
    ):
        why = f'endpointslices for service/{name} in "{namespace}" have no addresses with port name "{port_name}"'
        return "False", "MissingEndpoints", why
    return None


def failed(where: str, why: str) -> Said:
    return "False", "FailedDiscoveryCheck", f"failing or missing response from {where}: {why}"


def with_condition(
    conditions: Iterable[APIServiceCondition] | None, said: Said, now: str
) -> tuple[APIServiceCondition, ...]:
    """The same conditions, `Available` as it is now; its time is when its status last changed."""
    known = tuple(conditions or ())
    before = next((one for one in known if one.type == AVAILABLE), None)
    status, reason, message = said
    since = before.last_transition_time if before is not None and before.status == status else now
    made = APIServiceCondition(
        type=AVAILABLE, status=status, reason=reason, message=message, last_transition_time=since
    )
    return (*(one for one in known if one.type != AVAILABLE), made)
