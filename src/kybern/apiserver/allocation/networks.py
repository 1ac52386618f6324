"""The networks that Services get their addresses from: the cluster's own, and whatever ServiceCIDRs add (KEP-1880).

A ServiceCIDR gives addresses while it is ready and is not being deleted; one that says nothing of itself is ready. The
cluster's own networks are the ServiceCIDR `kubernetes`, and count by themselves only before there is any.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from random import Random

from kybern.api.networking_v1 import ServiceCIDR
from kybern.apiserver.allocation.families import family_of
from kybern.apiserver.allocation.ranges import Network, addresses, bounds
from kybern.apiserver.request import Objects


class ServiceNetworks:
    def __init__(self, objects: Objects, own: Sequence[Network], rng: Random) -> None:
        self.objects, self.own, self.rng = objects, own, rng
        self.families = tuple(dict.fromkeys(f"IPv{network.version}" for network in own))
        """The cluster's first one is that of Services that do not care."""
        self.networks: Sequence[Network] = ()
        objects.on_change(ServiceCIDR, lambda old, new: self.changed())
        self.changed()

    def changed(self) -> None:
        cidrs = self.objects.list(ServiceCIDR)
        found = [ip_network(cidr) for one in cidrs if gives_addresses(one) for cidr in one.spec.cidrs or ()]
        self.networks = found if cidrs else self.own

    def of_family(self, family: str) -> list[Network]:
        return [network for network in self.networks if f"IPv{network.version}" == family]

    def candidates(self, family: str) -> Iterator[str]:
        for network in self.of_family(family):
            yield from addresses(network, self.rng)

    def refusal(self, address: str) -> str:
        """Why no Service can have this address; empty where one can."""
        number = int(ip_address(address))
        holding = [network for network in self.of_family(family_of(address)) if ip_address(address) in network]
        if not holding:
            return "the provided network does not match the current range"
        if any(first <= number < end for first, end in map(bounds, holding)):
            return ""
        return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {holding[0]}"


def gives_addresses(found: ServiceCIDR) -> bool:
    told = {condition.type: condition.status for condition in found.status.conditions or ()}
    return found.metadata.deletion_timestamp is None and told.get("Ready", "True") == "True"
