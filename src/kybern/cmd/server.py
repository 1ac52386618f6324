"""The server process: the store, the API and its listeners."""

import asyncio
import gc
import socket
import ssl
import sys
from collections.abc import Iterator

import uvloop

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.errors import ServiceUnavailable
from kybern.apiserver.admission.extensions import ExtensionRules
from kybern.apiserver.admission.order import admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.aggregation.apis import AggregatedApis, Credentials
from kybern.apiserver.allocation.services import ServiceAllocation
from kybern.apiserver.auth.keys import Keys, keys_from_pem
from kybern.apiserver.auth.setup import auth
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.bootstrap.create import ensure
from kybern.apiserver.bootstrap.extension_authentication import ensure_extension_authentication
from kybern.apiserver.bootstrap.fixed_services import FixedService, dns_service, kubernetes_service
from kybern.apiserver.bootstrap.rbac import node_rules
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.connections.table import connections
from kybern.apiserver.customresources.serving import CustomResources
from kybern.apiserver.documents import Documents
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.server import ApiServer, open_machine
from kybern.cmd.admission_config import configuration
from kybern.cmd.auditing import audited
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import former_keys
from kybern.cmd.encryption import seal_of
from kybern.cmd.extensions import extensions_of, settle_rights
from kybern.cmd.gate import port_of_machine
from kybern.cmd.outside import followed, front_proxy_ca, outside
from kybern.cmd.place import first
from kybern.cmd.server_options import words
from kybern.cmd.stopping import until_stopped
from kybern.network.gateway.definitions import definitions
from kybern.registry import RESOURCES
from kybern.store.sqlite import SqliteStore
from kybern.web.http import Response
from kybern.web.pki import read_pair
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context

# ip(7), ipv6(7): bind an address that does not exist yet; the node makes its bridge after we start
FREEBIND = {socket.AF_INET: (0, 15), socket.AF_INET6: (41, 78)}


SWITCH_SECONDS = (
    0.0005  # the store's thread is short and everybody waits for it; Python's own 5 ms would be its latency
)


async def nobody_there(request: ApiRequest) -> Response:
    """On the machine's own network a simulated pod's address may be somebody's: nothing is ever sent there."""
    raise ServiceUnavailable("the pods of a simulated node have no network")


UNREACHABLE = {"pods/proxy": nobody_there, "services/proxy": nobody_there}


def main(cluster: Cluster) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(run(cluster))


async def run(cluster: Cluster) -> None:
    clock, ids = SystemClock(), Ids()
    store = await SqliteStore.open(cluster.data / "state.db", seal_of(cluster))
    machine = await open_machine(store, RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    others = outside(cluster, clock)
    access = auth(
        objects=objects, keys=signing_keys(cluster), clock=clock, ids=ids, node_rules=node_rules(), outside=others
    )
    callouts = Callouts(objects, ids.rng, pods_reachable=not cluster.simulated)
    inputs = Inputs(
        objects=objects, authorizer=access.authorizer, rbac=access.rbac, clock=clock, ids=ids, callouts=callouts,
        configuration=configuration(cluster.options),
    )  # fmt: skip
    extensions = extensions_of(cluster)
    rules = () if extensions is None else (ExtensionRules(inputs, lambda: extensions.admission),)
    plugins = admission_plugins(
        inputs,
        words(cluster.options.enable_admission_plugins),
        words(cluster.options.disable_admission_plugins),
    )
    documents = Documents(
        machine.resources, lambda: f"{cluster.bind_address}:{cluster.port}", remote=lambda: apis.remote()
    )
    apis = AggregatedApis(objects, machine, front_proxy(cluster), documents.invalidate)
    allocation = ServiceAllocation(objects, cluster.service_cidrs, ids.rng)
    audit, sinks = audited(cluster.options, clock, ids)
    api = ApiServer(
        machine,
        authenticate=access.authenticate,
        authorizer=access.authorizer,
        impersonation=access.impersonation,
        plugins=(*plugins, *rules, allocation),
        creators=access.creators,
        connections={**connections(objects, kubelet_tls(cluster), ids), **(UNREACHABLE if cluster.simulated else {})},
        paths=access.documents.handlers(),
        documents=(documents,),
        delegate=apis.delegate,
        flow_control=FlowControl(objects, clock),
        audit=audit,
    )
    api.metrics.registry.register(inputs.webhook_metrics)
    crds = CustomResources(machine, objects, documents.invalidate, callouts)
    await crds.start()
    await bootstrap(objects, fixed_services(cluster), cluster.service_cidrs)
    for definition in definitions() if cluster.gateway_api else ():
        await ensure(objects, definition)
    await settle_rights(objects, wanted=extensions is not None)
    await ensure_extension_authentication(objects, *(authority(cluster, name) for name in ("ca", "front-proxy-ca")))
    gc.freeze()  # what is there now stays: no collection needs to look at it again
    listeners = [await serve(api, sock=sock, ssl=tls(cluster)) for sock in sockets(cluster)]
    watching = [] if extensions is None else [extensions.run(clock)]
    watching += [file.run() for file in followed(cluster.options, access, clock)]
    async with asyncio.TaskGroup() as tasks:
        beside = [
            tasks.create_task(work)
            for work in (
                api.run(),
                access.legacy_use.run(),
                allocation.run(),
                crds.run(),
                apis.run(),
                *sinks.work(),
                *watching,
            )
        ]
        await until_stopped()
        for task in beside:
            task.cancel()
    for listener in listeners:
        await listener.close()
    callouts.close()
    apis.close()
    await store.close()
    sinks.close()


def fixed_services(cluster: Cluster) -> list[FixedService]:
    address = cluster.node_address if cluster.simulated else first(cluster).address  # loopback is no endpoint
    here = (str(address),)
    api = kubernetes_service(str(cluster.api_service_address), here, cluster.port)
    return [api] if cluster.simulated else [api, dns_service(str(cluster.dns_address), here)]


def signing_keys(cluster: Cluster) -> Keys:
    former = [path.read_bytes() for path in sorted(former_keys(cluster.pki), reverse=True)]
    return keys_from_pem((cluster.pki / "sa.key").read_bytes(), former)


def tls(cluster: Cluster) -> ssl.SSLContext:
    pair, ca = read_pair(cluster.pki, "apiserver"), read_pair(cluster.pki, "ca")
    assert pair is not None and ca is not None, "credentials.prepare made them"
    return server_context(pair.certificate, pair.key, client_ca=ca.certificate + front_proxy_ca(cluster.options))


def authority(cluster: Cluster, name: str) -> str:
    pair = read_pair(cluster.pki, name)
    assert pair is not None, "credentials.prepare made it"
    return pair.certificate.decode()


def front_proxy(cluster: Cluster) -> Credentials:
    """What the API server shows to extensions' API servers."""
    pair = read_pair(cluster.pki, "front-proxy-client")
    assert pair is not None, "credentials.prepare made it"
    return Credentials(pair.certificate, pair.key)


def kubelet_tls(cluster: Cluster) -> ssl.SSLContext:
    """What the API server shows to kubelets."""
    pair, ca = read_pair(cluster.pki, "apiserver-kubelet-client"), read_pair(cluster.pki, "ca")
    assert pair is not None and ca is not None, "credentials.prepare made them"
    return client_context(ca=ca.certificate, certificate=pair.certificate, key=pair.key)


def sockets(cluster: Cluster) -> Iterator[socket.socket]:
    """Loopback always, for this machine; the node's address for its pods; and where else we are told to listen."""
    outside = dict.fromkeys(("127.0.0.1", cluster.bind_address))
    if cluster.bind_address == "0.0.0.0":
        outside = {"0.0.0.0": None}
    if cluster.rootless:
        yield from (port_of_machine(cluster.gate_socket, "tcp", address, cluster.port) for address in outside)
        outside = {"127.0.0.1": None}
    nodes = () if cluster.simulated or "0.0.0.0" in outside else (*cluster.gateways, *first(cluster).addresses)
    for address in outside | dict.fromkeys(map(str, nodes)):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux" and not cluster.simulated:
            sock.setsockopt(*FREEBIND[sock.family], 1)
        sock.bind((address, cluster.port))
        yield sock
