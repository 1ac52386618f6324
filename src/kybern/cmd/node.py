"""The node process: the kubelet, its server, the service proxy and cluster DNS."""

import asyncio
import random
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import uvloop

from kybern.aio.clock import Clock, SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.client.view import View
from kybern.cmd import credentials
from kybern.cmd.config import CLUSTER_DOMAIN, KUBELET_PORT, Cluster
from kybern.cmd.ready import transport
from kybern.cmd.stopping import until_stopped
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.parts import NoVolumes
from kybern.kubelet.pod_cgroups import KernelCgroups
from kybern.kubelet.server import KubeletServer
from kybern.linux import cgroup_detect, nft
from kybern.linux.real import RealMounts
from kybern.network.bridge import BridgeNetwork
from kybern.network.dns.forward import resolvers_of_host
from kybern.network.dns.records import Zone
from kybern.network.dns.server import Resolver, ZoneFollower
from kybern.network.dns.server import serve as serve_dns
from kybern.network.ipam import Addresses
from kybern.network.proxy import ServiceProxy
from kybern.network.rules import NodeNetwork
from kybern.runtime.build.builder import Builder
from kybern.runtime.cri import Runtime
from kybern.runtime.image_service import ImageService
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime
from kybern.runtime.simulated import Simulated
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes
from kybern.web.pki import read_pair
from kybern.web.server import serve
from kybern.web.tls import server_context

DNS_PORT = 53


def main(cluster: Cluster) -> None:
    uvloop.run(run(cluster))


async def run(cluster: Cluster) -> None:
    clock, ids = SystemClock(), Ids()
    client = Client(transport(cluster, credentials.node(cluster.node_name)))
    view = View(client, clock=clock, rng=ids.rng)
    view.watch_kind(Pod, fields=f"spec.nodeName={cluster.node_name}")
    view.watch_kind(Node, fields=f"metadata.name={cluster.node_name}")
    view.watch_kind(Service)
    recorder = Recorder(client, "kubelet", cluster.node_name, clock, ids)
    if not cluster.simulated:
        BridgeNetwork(cluster.bridge, addresses(cluster), cluster.service_cidr).prepare()
    work = [view.run(), recorder.run(), kubelet(cluster, client, view, recorder, clock, ids)]
    if not cluster.simulated:
        work += network(cluster, clock, ids)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part) for part in work]
        await until_stopped()
        for task in running:
            task.cancel()


async def kubelet(cluster: Cluster, client: Client, view: View, recorder: Recorder, clock: Clock, ids: Ids) -> None:
    images = ImageStore(cluster.runtime / "images", hidden=(cluster.data, cluster.run))
    runtime = await container_runtime(cluster, images, clock, ids)
    sock = kubelet_socket(cluster)
    config = kubelet_config(cluster, sock.getsockname()[1])
    objects = Objects(client, clock)
    agent = Kubelet(
        client=client,
        view=view,
        runtime=runtime,
        volumes=NoVolumes()
        if cluster.simulated
        else PodVolumes(config.pods_directory, objects, RealMounts(), clock, ids),
        recorder=recorder,
        clock=clock,
        ids=ids,
        config=config,
        objects=objects,
        cgroups=None if cluster.simulated else KernelCgroups(cgroup_detect.detect()),
        simulated=cluster.simulated,
    )
    listener = await serve(KubeletServer(agent), sock=sock, ssl=tls(cluster))
    builder = None
    if isinstance(runtime, NativeRuntime):
        builder = Builder(runtime, cluster.runtime / "build", f"{cluster.cgroup}/build", clock)
    image_listener = await serve(ImageService(images, builder), unix_path=str(cluster.images_socket))
    try:
        await agent.run()
    finally:
        await listener.close()
        await image_listener.close()
        await runtime.close()


def kubelet_config(cluster: Cluster, port: int) -> KubeletConfig:
    return KubeletConfig(
        node_name=cluster.node_name,
        # A simulated node's kubelet listens on loopback; the bridge's address would be somebody else's there.
        node_ips=("127.0.0.1" if cluster.simulated else str(cluster.node_address),),
        data_directory=str(cluster.data),
        logs_directory=str(cluster.data / "pod-logs"),
        cgroup_root=f"{cluster.cgroup}/pods",
        cluster_dns=(str(cluster.dns_address),),
        cluster_domain=CLUSTER_DOMAIN,
        port=port,
    )


async def container_runtime(cluster: Cluster, images: ImageStore, clock: Clock, ids: Ids) -> Runtime:
    if cluster.simulated:
        return Simulated(clock, network=str(cluster.node_pod_cidr.network_address).rpartition(".")[0])
    pods = BridgeNetwork(cluster.bridge, addresses(cluster), cluster.service_cidr)
    native = NativeRuntime(cluster.runtime, cluster.run, images=images, network=pods, clock=clock, ids=ids)
    await native.open()
    return native


def network(cluster: Cluster, clock: Clock, ids: Ids) -> list[Coroutine[Any, Any, None]]:
    """The proxy and DNS read the same View, as the user that may read every Service."""
    view = View(Client(transport(cluster, credentials.PROXY)), clock=clock, rng=ids.rng)
    view.watch_kind(Service)
    view.watch_kind(EndpointSlice)
    return [view.run(), proxy(cluster, view, clock), dns(cluster, view, ids.rng)]


async def proxy(cluster: Cluster, view: View, clock: Clock) -> None:
    await view.synced()

    async def apply(text: str) -> None:
        await asyncio.to_thread(nft.apply, text)

    here = NodeNetwork(
        table=cluster.table,
        node_addresses=(str(cluster.node_address),),
        node_pod_cidr=str(cluster.node_pod_cidr),
        cluster_pod_cidr=str(cluster.pod_cidr),
    )
    await ServiceProxy(view, apply, here, cluster.node_name, clock).run()


async def dns(cluster: Cluster, view: View, rng: random.Random) -> None:
    await view.synced()
    zone = Zone(CLUSTER_DOMAIN.encode())
    ZoneFollower(view, zone)
    ours = frozenset({str(cluster.dns_address), str(cluster.node_address)})
    await serve_dns(Resolver(zone, resolvers_of_host(without=ours), rng), str(cluster.node_address), DNS_PORT)


def addresses(cluster: Cluster) -> Addresses:
    return Addresses(cluster.run / "addresses", cluster.node_pod_cidr)


def kubelet_socket(cluster: Cluster) -> socket.socket:
    """On the node's own address; a simulated node has none but loopback, where others may have the usual port."""
    address = ("127.0.0.1", 0) if cluster.simulated else (str(cluster.node_address), KUBELET_PORT)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    return sock


def tls(cluster: Cluster) -> ssl.SSLContext:
    pair, ca = read_pair(cluster.pki, "kubelet-server"), read_pair(cluster.pki, "ca")
    assert pair is not None and ca is not None, "credentials.prepare made them"
    return server_context(pair.certificate, pair.key, client_ca=ca.certificate)
