"""How a machine joins another's cluster, step by step, in the manner of kubeadm. Each step trusts only what those before it proved.

1. `cluster-info` is public; anybody on the way could have changed it. The token's secret half signs it (HS256), and the
   hash of the authority's public key, which the joining machine was told, proves that it is the cluster's own.
2. The token lets the machine ask for a certificate for its kubelet, and one for its network, which the controllers
   approve: from then on it is a node, and may what a node may.
3. As a node it reads how the cluster's network is laid out (`kybern-config`), and its kubelet asks for the certificate
   that it shows to the API server.

No key ever leaves the machine it was made on.
"""

import asyncio
import base64
import hmac
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api import yaml
from kybern.api.certificates_v1 import CertificateSigningRequest, CertificateSigningRequestSpec
from kybern.api.core_v1 import ConfigMap, Node
from kybern.api.errors import ApiError, ServiceUnavailable
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client
from kybern.client.view import View
from kybern.cmd.credentials import Identity, expired, node, node_network
from kybern.cmd.place import Place
from kybern.controllers.bootstraptokens import CLUSTER_INFO, KUBECONFIG, PUBLIC, SIGNATURE, TOKENS, detached
from kybern.controllers.certificates.requests import (
    KUBELET_CLIENT,
    KUBELET_SERVING,
    NETWORK_CLIENT,
    NETWORK_GROUP,
    NETWORK_PREFIX,
    NODE_GROUP,
    NODE_PREFIX,
)
from kybern.web import client as web_client
from kybern.web.pki import Pair, public_key_hash, read_pair, request, write_pair
from kybern.web.tls import client_context, load_pair

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
SETTINGS, SETTINGS_KEY = "kybern-config", "cluster"
APPROVAL_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.2
RETRY_SECONDS = 10.0
RENEWAL_CHECK_SECONDS = 3600.0

log = logging.getLogger(__name__)


class NotJoined(Exception):
    """Why this machine cannot join, and what can be done about it."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the token vouches for."""

    server: str
    ca: bytes


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What all machines of a cluster must have in common."""

    index: int
    """Of its address ranges, see `config.ranges`."""
    pod_network: str
    ip_family: str


async def discover(address: str, token: str, hashes: Sequence[str]) -> Discovered:
    """NotJoined where the cluster at this address is not the one that the token and the hashes are of."""
    strangers = client_context(verify=False)
    found = verified(await cluster_info(address, strangers, f"https://{address}"), token, hashes)
    # What was signed names the authority; the connection to the server must hold with it too.
    again = await cluster_info(address, client_context(ca=found.ca), found.server)
    if verified(again, token, hashes) != found:
        raise NotJoined(f"{found.server} and {address} disagree about the cluster")
    return found


async def cluster_info(address: str, tls: ssl.SSLContext, url: str) -> ConfigMap:
    async with web_client.Client(url, ssl=tls) as connections:
        try:
            return await Client(connections).get(ConfigMap, CLUSTER_INFO, PUBLIC)
        except ServiceUnavailable as error:
            raise NotJoined(f"{url} cannot be reached: {error.message}", f"curl -k https://{address}/readyz") from error
        except (ApiError, msgspec.MsgspecError) as error:
            raise NotJoined(f"{url} does not say who it is: {error}", "kybern token create (there)") from error


def verified(info: ConfigMap, token: str, hashes: Sequence[str]) -> Discovered:
    data = info.data or {}
    content, id_, secret = data.get(KUBECONFIG, ""), *token.split(".")
    signature = data.get(f"{SIGNATURE}{id_}")
    if signature is None:
        raise NotJoined(f"the cluster knows no token {id_}, or it has expired", "kybern token create (there)")
    if not hmac.compare_digest(signature.encode(), detached(content, id_, secret).encode()):
        raise NotJoined(f"what the cluster says of itself is not signed with token {id_}: the token is wrong, "
                        "or somebody stands between")  # fmt: skip
    try:
        [cluster] = [entry["cluster"] for entry in yaml.parse(content)[0]["clusters"]]
        server, ca = str(cluster["server"]), base64.b64decode(cluster["certificate-authority-data"])
        found = public_key_hash(ca)
    except (yaml.NotYaml, LookupError, TypeError, ValueError) as error:
        raise NotJoined(f"what the cluster says of itself cannot be read: {error}") from error
    if found not in hashes:
        raise NotJoined(f"the cluster's authority has the public key {found}, not the one that was named",
                        "kybern token create --print-join-command (there)")  # fmt: skip
    return Discovered(server, ca)


async def network_certificate(client: Client, name: str) -> Pair:
    """For the network of node `name`; a kubelet's own certificate does not lead to one."""
    pair = request(f"{NETWORK_PREFIX}{name}", (NETWORK_GROUP,))
    return await granted(client, pair, NETWORK_CLIENT, ("digital signature", "client auth"))


async def client_certificate(client: Client, name: str) -> Pair:
    """For the kubelet of node `name`; `client` speaks for the token, or for the node itself when it renews."""
    pair = request(f"{NODE_PREFIX}{name}", (NODE_GROUP,))
    return await granted(client, pair, KUBELET_CLIENT, ("digital signature", "client auth"))


async def serving_certificate(client: Client, name: str, addresses: Iterable[str]) -> Pair:
    pair = request(f"{NODE_PREFIX}{name}", (NODE_GROUP,), addresses)
    return await granted(client, pair, KUBELET_SERVING, ("digital signature", "server auth"))


async def granted(client: Client, asked: Pair, signer: str, usages: tuple[str, ...]) -> Pair:
    """The certificate that a request became. NotJoined where it was refused, or nobody decided in time."""
    made = await client.create(
        CertificateSigningRequest(
            metadata=ObjectMeta(generate_name="csr-"),
            spec=CertificateSigningRequestSpec(
                request=base64.b64encode(asked.certificate).decode(), signer_name=signer, usages=usages
            ),
        )
    )
    name = made.metadata.name or ""
    try:
        async with timeout(APPROVAL_SECONDS):
            while not made.status.certificate:
                refuse_denied(made)
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                made = await client.get(CertificateSigningRequest, name)
    except TimeoutError:
        raise NotJoined(f"nobody approved the certificate request {name} in {APPROVAL_SECONDS:.0f} s",
                        f"kubectl certificate approve {name} (there)") from None  # fmt: skip
    return Pair(base64.b64decode(made.status.certificate), asked.key)


def refuse_denied(csr: CertificateSigningRequest) -> None:
    for condition in csr.status.conditions or ():
        if condition.type in ("Denied", "Failed"):
            raise NotJoined(f"certificate request {csr.metadata.name}: {condition.type}: {condition.message}")


async def layout(client: Client) -> Layout:
    try:
        found = await client.get(ConfigMap, SETTINGS, TOKENS)
        return msgspec.json.decode((found.data or {})[SETTINGS_KEY], type=Layout)
    except (ApiError, LookupError, msgspec.DecodeError) as error:
        raise NotJoined(f"the cluster does not say how its network is laid out: {error}") from error


async def keep_serving_certificate(
    place: Place, client: Client, view: View, shown: ssl.SSLContext, clock: Clock
) -> None:
    """Asks for what the kubelet shows to the API server once its node is registered, and again before it ends."""
    pki = place.cluster.pki
    while True:
        registered = view.get(Node, place.name)
        if not expired(pki, place.serving_pair, clock.wall()):
            await clock.sleep(RENEWAL_CHECK_SECONDS)
            continue
        if registered is None or not registered.status.addresses:
            await clock.sleep(LOOK_AGAIN_SECONDS)
            continue
        try:
            pair = await serving_certificate(client, place.name, (str(place.address),))
        except (ApiError, OSError, NotJoined) as error:
            log.error("the kubelet has no certificate to show, asked again in %.0f s: %s", RETRY_SECONDS, error)
            await clock.sleep(RETRY_SECONDS)
            continue
        write_pair(pki, place.serving_pair, pair)
        load_pair(shown, pair.certificate, pair.key)


CERTIFICATES: Mapping[Callable[[str], Identity], Callable[[Client, str], Awaitable[Pair]]] = {
    node: client_certificate,
    node_network: network_certificate,
}
"""A joined node's identities; each renews itself."""


async def renew(client: Client, place: Place, of: Callable[[str], Identity], now: float) -> None:
    """The certificate of one of the node's identities, in its last month."""
    file = of(place.name).file
    if read_pair(place.cluster.pki, file) is not None and expired(place.cluster.pki, file, now):
        write_pair(place.cluster.pki, file, await CERTIFICATES[of](client, place.name))
