"""load balancer: a Service of type LoadBalancer gets an address of a pool, which every node's proxy answers.

- An address that is asked for (`spec.loadBalancerIP`) is given where it is in the pool and free.
- A Service of a class (`spec.loadBalancerClass`) is another's to serve.
- The one that has an address keeps it; where the pool is exhausted, or the address taken, an event says so.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from msgspec.structs import replace

from kybern.api.core_v1 import LoadBalancerIngress, LoadBalancerStatus, Service
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller

RETRY_SECONDS = 30.0

Pool = IPv4Network | IPv6Network


class Unavailable(Exception):
    """Why there is no address."""


def load_balancer(pools: Sequence[Pool]) -> Controller[Service]:
    """A pool of each address family. One worker: two Services must not be given the same address."""

    async def reconcile(service: Service, view: View, client: Client, context: Context) -> After | None:
        if not is_ours(service):
            has = addresses_of(service)
            if has and all(any(ip_address(ip) in pool for pool in pools) for ip in has):
                await client.update_status(with_addresses(service, ()))
            return None
        try:
            given = wanted(service, view.list(Service), pools)
        except Unavailable as why:
            context.events.event(service, "Warning", "AllocationFailed", str(why))
            return After(RETRY_SECONDS)
        if addresses_of(service) != given:
            await client.update_status(with_addresses(service, given))
            said = ",".join(f'"{address}"' for address in given)
            context.events.event(service, "Normal", "IPAllocated", f"Assigned IP [{said}]")
        return None

    return Controller(
        name="load-balancer", component="load-balancer-controller", reconciles=Service, by=reconcile, workers=1
    )


def is_ours(service: Service) -> bool:
    gone = service.metadata.deletion_timestamp is not None
    return service.spec.type == "LoadBalancer" and not service.spec.load_balancer_class and not gone


def wanted(service: Service, services: Sequence[Service], pools: Sequence[Pool]) -> list[str]:
    """An address of each family that the Service has."""
    families = service.spec.ip_families or (f"IPv{pools[0].version}",)
    of_families = [pool for family in families for pool in pools if family == f"IPv{pool.version}"]
    return [chosen(service, services, pool) for pool in of_families]


def chosen(service: Service, services: Iterable[Service], pool: Pool) -> str:
    """The address that is asked for, the one it has, or the first that is free. Unavailable where there is none."""
    others = [other for other in services if other.metadata.uid != service.metadata.uid]
    taken = {address: other for other in others for address in addresses_of(other)}
    asked = service.spec.load_balancer_ip
    if asked and (":" in asked) == (pool.version == 6):
        return claimed(asked, taken, pool)
    for address in addresses_of(service):
        if address not in taken and ip_address(address) in pool:
            return address
    for candidate in pool.hosts():
        if str(candidate) not in taken:
            return str(candidate)
    raise Unavailable(f"no addresses available in the load balancer pool {pool}")


def claimed(asked: str, taken: dict[str, Service], pool: Pool) -> str:
    try:
        in_pool = ip_address(asked) in pool
    except ValueError:
        in_pool = False
    if not in_pool:
        raise Unavailable(f"requested loadBalancerIP {asked!r} is not in the pool {pool}")
    if asked in taken:
        meta = taken[asked].metadata
        raise Unavailable(f"requested loadBalancerIP {asked!r} is in use by service {meta.namespace}/{meta.name}")
    return asked


def addresses_of(service: Service) -> list[str]:
    balancer = service.status.load_balancer
    return [entry.ip for entry in (balancer.ingress if balancer else None) or () if entry.ip]


def with_addresses(service: Service, addresses: Sequence[str]) -> Service:
    ingress = tuple(LoadBalancerIngress(ip=address, ip_mode="VIP") for address in addresses) or None
    return replace(service, status=replace(service.status, load_balancer=LoadBalancerStatus(ingress=ingress)))
