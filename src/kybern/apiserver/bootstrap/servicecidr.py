"""The ServiceCIDR `kubernetes`: the service networks that the cluster was started with, as an object like any other.

A cluster that is given a second family gets it there too. Any other difference stays as it is: Services have addresses in
those networks.
"""

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from kybern.api.meta_v1 import ObjectMeta
from kybern.api.networking_v1 import ServiceCIDR, ServiceCIDRSpec
from kybern.apiserver.allocation.ranges import Network
from kybern.apiserver.request import Objects

NAME = "kubernetes"

log = logging.getLogger(__name__)


async def ensure_service_cidr(objects: Objects, networks: Sequence[Network]) -> None:
    wanted = tuple(map(str, networks))
    found = objects.get(ServiceCIDR, NAME)
    if not wanted:
        return
    if found is None:
        await objects.create(ServiceCIDR(metadata=ObjectMeta(name=NAME), spec=ServiceCIDRSpec(cidrs=wanted)))
    elif wanted[:-1] == found.spec.cidrs:
        await objects.update(replace(found, spec=ServiceCIDRSpec(cidrs=wanted)))
    elif wanted != found.spec.cidrs:
        log.warning("the ServiceCIDR %s stays %s: it cannot become %s", NAME, found.spec.cidrs, wanted)
