"""What a pod asks of the network by its annotations: how fast it may be, and which address it keeps.

    kubernetes.io/ingress-bandwidth: 10M       upstream's; bits per second toward the pod
    kubernetes.io/egress-bandwidth: 10M        and from it
    network.kybern.io/address: 10.244.250.10   this one, on every node and after every restart

For a pod of a StatefulSet the address is that of ordinal 0; the others follow it, one by one. A wish that cannot be
granted is an OSError: the pod does not start, and its events say why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from kybern.api.quantity import value
from kybern.network.ipam import Address, Network

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
ADDRESS = "network.kybern.io/address"
ORDINAL = "apps.kubernetes.io/pod-index"
BITS_MIN, BITS_MAX = 1000, 10**15


@dataclass(frozen=True, slots=True)
class Wishes:
    ingress_bits: int = 0
    """0 for no limit."""
    egress_bits: int = 0
    address: Address | None = None


def wishes(annotations: Mapping[str, str], labels: Mapping[str, str]) -> Wishes:
    return Wishes(bits(annotations, INGRESS), bits(annotations, EGRESS), address(annotations, labels))


def bits(annotations: Mapping[str, str], key: str) -> int:
    text = annotations.get(key)
    if text is None:
        return 0
    try:
        found = value(text)
    except ValueError as error:
        raise OSError(f"annotation {key}: {error}") from None
    if found < BITS_MIN:
        raise OSError(f"annotation {key}: resource is unreasonably small (< 1kbit)")
    if found > BITS_MAX:
        raise OSError(f"annotation {key}: resource is unreasonably large (> 1Pbit)")
    return found


def address(annotations: Mapping[str, str], labels: Mapping[str, str]) -> Address | None:
    text = annotations.get(ADDRESS)
    if text is None:
        return None
    ordinal = labels.get(ORDINAL, "0")
    try:
        return ip_address(text) + (int(ordinal) if ordinal.isdecimal() else 0)
    except ValueError as error:
        raise OSError(f"annotation {ADDRESS}: {error}") from None


@dataclass(frozen=True, slots=True)
class Holders:
    """Whose an address is, by what the API says."""

    cluster: Sequence[Network]
    node_of_range: Callable[[Address], str]
    """The node that gives this address to its own pods; empty where no node does."""
    pod_with: Callable[[Address], tuple[str, str]]
    """(uid, namespace/name) of the pod that has it; ("", "") where none has."""


def refuse_address(wanted: Address, uid: str, node: str, holders: Holders) -> None:
    """OSError where it is not to be had here."""
    if not any(wanted.version == cidr.version and wanted in cidr for cidr in holders.cluster):
        whole = ", ".join(map(str, holders.cluster))
        raise OSError(f"annotation {ADDRESS}: {wanted} is not in the cluster's pod network {whole}")
    owner = holders.node_of_range(wanted)
    if owner and owner != node:
        raise OSError(f"annotation {ADDRESS}: {wanted} is for the pods of node {owner}")
    other, name = holders.pod_with(wanted)
    if other and other != uid:
        raise OSError(f"annotation {ADDRESS}: {wanted} is in use by pod {name}")
