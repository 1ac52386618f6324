"""A cluster's certificates: one authority, and a certificate for each process, issued when missing or soon to expire.

    <data>/pki/ca                       trusted by everybody
    <data>/pki/apiserver                what the API server shows
    <data>/pki/apiserver-kubelet-client what it shows to kubelets
    <data>/pki/front-proxy-ca           trusted by extensions' API servers, for that one purpose
    <data>/pki/front-proxy-client       what the API server shows to them
    <data>/pki/kubelet-server           what the first node's kubelet shows to the API server; of others: -<node>
    <data>/pki/<identity>               who a process is to the API server
    <data>/pki/sa.key                   signs service-account tokens
    <data>/pki/sa-*.pub                 signed them before, and are still believed

Each process is its own user with its own rights, as upstream's are; none is an administrator.
"""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kybern.apiserver.bootstrap.extension_authentication import FRONT_PROXY
from kybern.cmd.config import CLUSTER_DOMAIN, Cluster
from kybern.cmd.place import places
from kybern.controllers.certificates.requests import NETWORK_GROUP, NETWORK_PREFIX
from kybern.web.pki import (  # fmt: skip
    CLIENT,
    SERVER,
    Pair,
    create_ca,
    create_signing_key,
    expires_at,
    issue,
    read_pair,
    write_pair,
)
from kybern.web.private_file import write_private

RENEW_SECONDS = 30 * 86400.0  # a year's certificate is replaced by the first start in its last month


@dataclass(frozen=True, slots=True)
class Identity:
    """A client of the API: the file its certificate is in, and the user it names."""

    file: str
    user: str
    groups: tuple[str, ...] = ()


ADMIN = Identity("admin", "kubernetes-admin", ("system:masters",))
CONTROLLERS = Identity("controller-manager", "system:kube-controller-manager")
SCHEDULER = Identity("scheduler", "system:kube-scheduler")
INGRESS = Identity("ingress", "kybern:ingress")
SIMULATED_NODES = Identity("simulated-nodes", "kybern:simulated-nodes")
KUBELET_CLIENT = Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client")
"""Nobody to the API server itself: a node that gives the server's own address as its kubelet's gains nothing by it."""


def node(name: str) -> Identity:
    return Identity(f"node-{name}", f"system:node:{name}", ("system:nodes",))


def node_network(name: str) -> Identity:
    """A node's proxy, DNS and policies: they follow the whole cluster, and write nothing. The kubelet does not."""
    return Identity(f"node-network-{name}", f"{NETWORK_PREFIX}{name}", (NETWORK_GROUP,))


def identities(cluster: Cluster) -> Iterator[Identity]:
    yield from (ADMIN, CONTROLLERS, SCHEDULER, KUBELET_CLIENT)
    if not cluster.simulated:
        yield INGRESS
        yield from (node_network(place.name) for place in places(cluster))
    yield from (node(place.name) for place in places(cluster))
    if has_simulated_nodes(cluster):
        yield SIMULATED_NODES


def has_simulated_nodes(cluster: Cluster) -> bool:
    return bool(cluster.simulated_nodes or cluster.simulated_config)


def prepare(cluster: Cluster, now: float) -> None:
    """Makes whatever is missing. Safe to repeat; what is there and still good is kept."""
    ca = read_pair(cluster.pki, "ca")
    if ca is None:
        ca = create_ca(f"kybern-{cluster.id}-ca", now)
        write_pair(cluster.pki, "ca", ca)
    for identity in identities(cluster):
        if expired(cluster.pki, identity.file, now):
            pair = issue(ca, identity.user, now=now, organizations=identity.groups, usages=(CLIENT,))
            write_pair(cluster.pki, identity.file, pair)
    prepare_front_proxy(cluster, now)
    prepare_servers(cluster, ca, now)
    if not (cluster.pki / "sa.key").exists():
        write_private(cluster.pki / "sa.key", create_signing_key())


def prepare_front_proxy(cluster: Cluster, now: float) -> None:
    """An authority of its own: whoever bears a certificate of it may say in whose name it speaks."""
    ca = read_pair(cluster.pki, "front-proxy-ca")
    if ca is None:
        ca = create_ca(f"kybern-{cluster.id}-front-proxy-ca", now)
        write_pair(cluster.pki, "front-proxy-ca", ca)
    if expired(cluster.pki, "front-proxy-client", now):
        write_pair(cluster.pki, "front-proxy-client", issue(ca, FRONT_PROXY, now=now, usages=(CLIENT,)))


def former_keys(pki: Path) -> list[Path]:
    """The public parts of the keys that signed service-account tokens before."""
    return list(pki.glob("sa-*.pub"))


def prepare_servers(cluster: Cluster, ca: Pair, now: float) -> None:
    """A server's certificate names its addresses, so it is issued again when they change."""
    prepare_server(
        cluster.pki, "apiserver", "kube-apiserver", server_names(cluster), server_addresses(cluster), ca, now
    )
    if not cluster.simulated:
        names, ips = ["ingress.local"], list(map(str, cluster.gateways))
        prepare_server(cluster.pki, "ingress-server", "kybern-ingress", names, ips, ca, now)
    for place in places(cluster):
        ips = [*map(str, place.addresses), "127.0.0.1"]
        prepare_server(cluster.pki, place.serving_pair, f"system:node:{place.name}", [place.name], ips, ca, now)


def prepare_server(
    directory: Path, file: str, user: str, names: Iterable[str], ips: Iterable[str], ca: Pair, now: float
) -> None:
    names, ips = list(names), list(ips)
    note = directory / f"{file}.names"
    listed = "\n".join([*names, *ips])
    if expired(directory, file, now) or not note.exists() or note.read_text() != listed:
        write_pair(directory, file, issue(ca, user, now=now, dns_names=names, ips=ips, usages=(SERVER,)))
        write_private(note, listed.encode())


def expired(directory: Path, name: str, now: float) -> bool:
    pair = read_pair(directory, name)
    return pair is None or expires_at(pair.certificate) - now < RENEW_SECONDS


def server_names(cluster: Cluster) -> Iterator[str]:
    service = "kubernetes.default"
    yield from ("localhost", "kubernetes", service, f"{service}.svc", f"{service}.svc.{CLUSTER_DOMAIN}")
    yield from dict.fromkeys(name for name in (cluster.node_name, socket.gethostname()) if name.isascii())


def server_addresses(cluster: Cluster) -> Iterator[str]:
    found = ["127.0.0.1", "::1", str(cluster.api_service_address), *map(str, cluster.gateways)]
    if cluster.advertise_address:
        found.append(cluster.advertise_address)
    if cluster.bind_address not in ("0.0.0.0", "::"):
        found.append(cluster.bind_address)
    else:
        found += addresses_of_host()
    yield from dict.fromkeys(found)


def addresses_of_host() -> list[str]:
    """What the machine's name resolves to; enough for a server that was told to listen everywhere."""
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)})
    except OSError:
        return []
