"""The pod network of a node: one bridge, a veth pair per sandbox, every packet routed by the node.

A pod's address is a /32 (/128) whose gateway is the bridge (docs/decisions/0002): what pods send each other passes the
node's IP layer too, so translated connections are always seen both ways, and policies see everything.

Which addresses a node gives to its pods is said by its Node object (`spec.podCIDRs`), so it may not be known yet: until
`configure` was called there is a `fault`, and no sandbox is attached.
"""

import asyncio
import errno
import hashlib
import logging
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

from kybern.linux.frame_filter import filter_frames
from kybern.linux.netlink import Netlink
from kybern.linux.shaping import limit_rate
from kybern.network.ipam import Address, Addresses, Network
from kybern.network.own_frames import own_frames
from kybern.network.wishes import Holders, Wishes, refuse_address, wishes
from kybern.runtime.cri import PodSandboxConfig, SandboxState, SandboxStatus

POD_LINK = "eth0"
SYSCTL = Path("/proc/sys/net")
UNCONFIGURED = "the node has no pod CIDR yet"
NO_FILTERS = (errno.ENOENT, errno.EOPNOTSUPP)  # the kernel was built without them

log = logging.getLogger(__name__)


class Guard(Protocol):
    """Who sees to it that a pod's packets may pass, before it has any: see `policy.enforcing`."""

    async def admit(self, sandbox_id: str, config: PodSandboxConfig, ips: tuple[str, ...]) -> None:
        """Returns when the pod's rules are in force; OSError when they cannot be."""

    def dismiss(self, sandbox_id: str) -> None: ...


class BridgeNetwork:
    """The `PodNetwork` of a node."""

    def __init__(
        self,
        bridge: str,
        directory: Path,
        service_cidrs: Sequence[Network],
        mtu: int = 0,
        guard: Guard | None = None,
        node: str = "",
        holders: Holders | None = None,
    ) -> None:
        """`directory` remembers who has which address. `mtu`: of pods' links; 0 for the kernel's own. `holders` say
        whether an address that a pod asks for is free in the cluster."""
        self.bridge, self.directory, self.service_cidrs, self.mtu = bridge, directory, service_cidrs, mtu
        self.guard = guard
        self.node, self.holders = node, holders
        self.pools: tuple[Addresses, ...] = ()
        self.kept: set[str] | None = None
        """Until the pools are known: the sandboxes that were there at the start and still are."""
        self.ready = asyncio.Event()
        self.told_what_lacks = False

    def fault(self) -> str:
        return "" if self.pools else UNCONFIGURED

    async def collect(self, sandboxes: Sequence[SandboxStatus]) -> None:
        """At the start: what no sandbox has any more is given back, as soon as it is known which addresses there are."""
        self.kept = {sandbox.id for sandbox in sandboxes if sandbox.state is SandboxState.READY}

    def configure(self, cidrs: Sequence[str]) -> None:
        """The bridge with its addresses, and the node as a router. Does nothing twice."""
        pools = tuple(Addresses(self.directory / family(cidr), ip_network(cidr)) for cidr in cidrs)
        if self.kept is not None:
            for pool in pools:
                pool.keep_only(self.kept)
            self.kept = None
        with Netlink() as here:
            # A fixed hardware address: a bridge would otherwise take one of its ports', and change it with them.
            index = here.ensure_bridge(self.bridge, mac=hardware_address(pools[0].gateway))
            here.set_up(index)
            for pool in pools:
                here.ensure_address(index, f"{pool.gateway}/{pool.cidr.prefixlen}")
            for cidr in self.service_cidrs:
                # Service addresses need a route to be translated on their way out, also on a machine that is offline.
                here.ensure_route(str(cidr), index=index)
        route_between_links(self.bridge)
        trust_no_router(self.bridge)
        if any(pool.cidr.version == 6 for pool in pools):
            route_ipv6_between_links()
        self.pools = pools
        self.ready.set()

    def remove(self) -> None:
        with Netlink() as here:
            here.delete_link(self.bridge)

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        if not self.pools:
            raise OSError(UNCONFIGURED)
        wished = wishes(config.annotations, config.labels)
        try:
            addresses = [self._take(pool, sandbox_id, config, wished.address) for pool in self.pools]
            if self.guard is not None:
                await self.guard.admit(sandbox_id, config, tuple(map(str, addresses)))
            self._wire(sandbox_id, netns_path, addresses, wished)
        except OSError:
            await self.detach(sandbox_id, netns_path)
            raise
        return tuple(map(str, addresses))

    def _take(self, pool: Addresses, sandbox_id: str, config: PodSandboxConfig, wanted: Address | None) -> Address:
        if wanted is None or wanted.version != pool.cidr.version:
            return pool.take(sandbox_id)
        if self.holders is not None:
            refuse_address(wanted, config.metadata.uid, self.node, self.holders)
        return pool.take_this(sandbox_id, wanted)

    def _wire(self, sandbox_id: str, namespace: str, addresses: Sequence[Address], wished: Wishes) -> None:
        name = link_name(sandbox_id)
        with Netlink() as here, Netlink(namespace) as there:
            if there.link(POD_LINK) is None:
                here.delete_link(name)  # half of an attempt that was cut short
                # The hardware address follows from the IP address: whoever knew the last owner's still finds this one.
                here.add_veth(name, POD_LINK, namespace, mtu=self.mtu, peer_mac=hardware_address(addresses[0]))
            port, bridge = here.index(name), here.index(self.bridge)
            here.set_master(port, bridge)
            self._keep_to_own_frames(here, port, addresses)
            here.set_hairpin(port)  # where br_netfilter is on, a pod's way to itself stays on the bridge
            here.set_up(port)
            self._address(there, addresses)
            for pool, address in zip(self.pools, addresses, strict=True):
                here.set_neighbour(
                    bridge, hardware_address(addresses[0]), str(address)
                )  # whoever else says that it is his
                if address not in pool.cidr:
                    here.ensure_route(f"{address}/{address.max_prefixlen}", index=bridge)
            if wished.ingress_bits:
                limit_rate(here, port, wished.ingress_bits)
            if wished.egress_bits:
                limit_rate(there, there.index(POD_LINK), wished.egress_bits)

    def _keep_to_own_frames(self, here: Netlink, port: int, addresses: Sequence[Address]) -> None:
        """From before the link is up."""
        mac, router = hardware_address(addresses[0]), hardware_address(self.pools[0].gateway)
        try:
            filter_frames(here, port, own_frames(mac, router, addresses))
        except OSError as error:
            if error.errno not in NO_FILTERS:
                raise
            if not self.told_what_lacks:
                log.warning("this kernel has no cls_bpf: pods with NET_RAW may send as their neighbours (%s)", error)
            self.told_what_lacks = True

    def _address(self, there: Netlink, addresses: Sequence[Address]) -> None:
        there.set_up(there.index("lo"))
        link = there.index(POD_LINK)
        there.set_up(link)
        for pool, address in zip(self.pools, addresses, strict=True):
            gateway, whole = str(pool.gateway), address.max_prefixlen
            there.ensure_address(link, f"{address}/{whole}")
            there.set_neighbour(link, hardware_address(self.pools[0].gateway), gateway)
            there.ensure_route(f"{gateway}/{whole}", index=link)
            there.ensure_route("0.0.0.0/0" if whole == 32 else "::/0", index=link, gateway=gateway)

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        try:
            with Netlink() as here:
                here.delete_link(link_name(sandbox_id))
                bridge = here.link(self.bridge)
                for pool in self.pools:
                    address = pool.by_owner.get(sandbox_id)
                    if address is not None and bridge is not None:
                        here.delete_neighbour(bridge.index, str(address))
                    if address is not None and address not in pool.cidr:
                        here.delete_route(f"{address}/{address.max_prefixlen}")
        except OSError as error:
            log.warning("the link of sandbox %s could not be removed: %s", sandbox_id, error)
        if self.kept is not None:
            self.kept.discard(sandbox_id)
        for pool in self.pools:
            pool.give_back(sandbox_id)
        if self.guard is not None:
            self.guard.dismiss(sandbox_id)


def family(cidr: str) -> str:
    return "ipv6" if ":" in cidr else "ipv4"


def route_between_links(bridge: str) -> None:
    """The namespace that this thread is in forwards packets, and tells nobody to take another way."""
    (SYSCTL / "ipv4" / "ip_forward").write_text("1")
    for scope in ("all", bridge):  # either would be enough to tell pods not to go on through us
        (SYSCTL / "ipv4" / "conf" / scope / "send_redirects").write_text("0")
    (SYSCTL / "ipv4" / "conf" / bridge / "rp_filter").write_text("0")  # /32 neighbours are reached by routes
    lead_loopback_out(bridge)


def trust_no_router(bridge: str) -> None:
    """A pod that says it is one would get what the machine sends elsewhere (CVE-2020-10749)."""
    accepts = SYSCTL / "ipv6" / "conf" / bridge / "accept_ra"
    if accepts.exists():  # a machine may have no IPv6 at all
        accepts.write_text("0")


def route_ipv6_between_links() -> None:
    """A router no longer listens to other routers, but where it is told to: whoever got its own way out from one keeps it."""
    conf = SYSCTL / "ipv6" / "conf"
    for link in conf.iterdir():
        if (link / "accept_ra").read_text().strip() == "1":
            (link / "accept_ra").write_text("2")
    (conf / "all" / "forwarding").write_text("1")


def lead_loopback_out(link: str) -> None:
    """What the node sends to its own 127.0.0.1 may be led to a pod by this link. The proxy's rules drop what others send
    there."""
    (SYSCTL / "ipv4" / "conf" / link / "route_localnet").write_text("1")


def link_name(sandbox_id: str) -> str:
    """15 bytes at most; the sandbox' id decides it, so a restart finds the link again."""
    return "veth" + hashlib.sha256(sandbox_id.encode()).hexdigest()[:10]


def hardware_address(address: Address) -> str:
    """Locally administered, made from the IP address: the same one after every restart."""
    packed = address.packed if address.version == 4 else hashlib.sha256(address.packed).digest()
    return (b"\x0a\x58" + packed[:4]).hex(":")
