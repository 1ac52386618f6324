"""Where kubelets are, and one client for each: the API server shows its own certificate, and checks theirs."""

import ssl
from dataclasses import dataclass

from kybern.api.core_v1 import Node
from kybern.api.errors import InternalError
from kybern.apiserver.request import Objects
from kybern.web.client import Client
from kybern.web.clients import Clients

CLIENTS_MAX = 200  # nodes spoken to lately; their idle connections are what is kept
KUBELET_PORT = 10250
SIMULATED = "kybern.io/simulated"  # its address is nobody's, or somebody else's
ADDRESSES_IN_ORDER = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Kubelets:
    def __init__(self, objects: Objects, tls: ssl.SSLContext) -> None:
        self.objects = objects
        self.tls = tls
        self._clients: Clients[Address] = Clients(CLIENTS_MAX)

    def address(self, node_name: str) -> Address:
        """InternalError where the node does not say where its kubelet is: nothing that the client could change."""
        node = self.objects.get(Node, node_name)
        if node is None:
            raise InternalError(f'nodes "{node_name}" not found')
        if (node.metadata.annotations or {}).get(SIMULATED) == "true":
            raise InternalError(f'node "{node_name}" is simulated: no container runs there that could answer')
        host = host_of(node)
        if host is None:
            raise InternalError("no preferred addresses found; known addresses: []")
        return Address(host, port_of(node))

    def client(self, address: Address) -> Client:
        return self._clients.kept(address, lambda: Client(f"https://{address}", ssl=self.tls))

    def close(self) -> None:
        self._clients.close()


def host_of(node: Node) -> str | None:
    """Of several of a type the first: a node of two families names its own one first."""
    found = {address.type: address.address for address in reversed(node.status.addresses or ())}
    return next((found[kind] for kind in ADDRESSES_IN_ORDER if kind in found), None)


def port_of(node: Node) -> int:
    endpoints = node.status.daemon_endpoints
    endpoint = endpoints.kubelet_endpoint if endpoints else None
    return (endpoint.port if endpoint else 0) or KUBELET_PORT
