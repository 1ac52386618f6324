"""Addresses for sandboxes out of a node's pod CIDR, remembered on disk: one file per address, named after it.

A file appears with the taker's id in it or not at all, and never over another, so two takers never get one address and a
restart finds its own.
Addresses are handed out in a circle: one that was just given back is the last to be used again, since others may still
send to it.
"""

import os
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEW = ".new"


class Exhausted(OSError):
    """Every address of the range is taken."""


class AddressInUse(OSError):
    """The very address that was asked for is another's."""


class Addresses:
    def __init__(self, directory: Path, cidr: Network) -> None:
        """The range's first two addresses (network, gateway) and its last (IPv4's broadcast) are never handed out."""
        self.directory, self.cidr = directory, cidr
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._new = directory / NEW
        self._new.unlink(missing_ok=True)
        self.by_owner: dict[str, Address] = {path.read_text(): ip_address(path.name) for path in directory.iterdir()}
        used = [int(address) for address in self.by_owner.values() if address in cidr]
        self.last = max(used, default=int(cidr.network_address) + 1)

    @property
    def gateway(self) -> Address:
        return self.cidr.network_address + 1

    def take(self, owner: str) -> Address:
        """The owner's address, the same one when asked again. Exhausted when there is none left."""
        if owner in self.by_owner:
            return self.by_owner[owner]
        for address in self._in_circle():
            if self._write(address, owner):
                self.by_owner[owner] = address
                self.last = int(address)
                return address
        raise Exhausted(f"no addresses available in range {self.cidr}")

    def take_this(self, owner: str, address: Address) -> Address:
        """This very address, inside the range or not. AddressInUse when somebody else on this node has it."""
        if self.by_owner.get(owner) == address:
            return address
        if not self._write(address, owner):
            raise AddressInUse(f"address {address} is in use on this node")
        self.by_owner[owner] = address
        return address

    def give_back(self, owner: str) -> None:
        address = self.by_owner.pop(owner, None)
        if address is not None:
            (self.directory / str(address)).unlink(missing_ok=True)

    def keep_only(self, owners: Collection[str]) -> None:
        """The others are gone, and whoever saw them go did not live to give back what was theirs."""
        for owner in self.by_owner.keys() - owners:
            self.give_back(owner)

    def _in_circle(self) -> Iterator[Address]:
        first, count = int(self.cidr.network_address) + 2, self.cidr.num_addresses - 3
        start = self.last + 1 - first
        for step in range(count):
            yield type(self.cidr.network_address)(first + (start + step) % count)

    def _write(self, address: Address, owner: str) -> bool:
        handle = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(owner)
        try:
            os.link(self._new, self.directory / str(address))
        except FileExistsError:
            return False
        finally:
            os.unlink(self._new)
        return True
