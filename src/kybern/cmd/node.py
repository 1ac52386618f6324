"""The node process: the kubelet and its server, and beside them the node's network."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import uvloop

from kybern.aio.clock import Clock, SystemClock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Node, Pod, Service
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.client.view import View
from kybern.cmd import credentials, node_network
from kybern.cmd.config import CLUSTER_DOMAIN, KUBELET_PORT
from kybern.cmd.engines import engine
from kybern.cmd.joining import keep_serving_certificate
from kybern.cmd.limits import capacity
from kybern.cmd.node_network import Network
from kybern.cmd.node_registry import registry, registry_source
from kybern.cmd.place import Place
from kybern.cmd.ready import transport
from kybern.cmd.stopping import until_stopped
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import configured
from kybern.kubelet.credential_providers import providers_of
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.machine import swap_bytes
from kybern.kubelet.parts import NoVolumes
from kybern.kubelet.pod_cgroups import KernelCgroups
from kybern.kubelet.server import KubeletServer
from kybern.linux import cgroup_detect
from kybern.linux.real import RealMounts
from kybern.network.peers import NETWORKED
from kybern.runtime.image_service import ImageService
from kybern.runtime.images.store import ImageStore
from kybern.volumes.objects import Objects
from kybern.volumes.pod_volumes import PodVolumes
from kybern.web.pki import read_certificate, read_pair, self_signed
from kybern.web.server import serve
from kybern.web.tls import server_context

T = TypeVar("T")


def main(place: Place) -> None:
    uvloop.run(run(place))


async def run(place: Place) -> None:
    clock, ids = SystemClock(), Ids()
    client = Client(transport(place.cluster, credentials.node(place.name), place.server_url))
    view = View(client, clock=clock, rng=ids.rng)
    view.watch_kind(Pod, fields=f"spec.nodeName={place.name}")
    view.watch_kind(Node, fields=f"metadata.name={place.name}")
    view.watch_kind(Service)
    recorder = Recorder(client, "kubelet", place.name, clock, ids)
    seconds = kubelet_config(place, 0).request_seconds
    network = None if place.cluster.simulated else node_network.network(place, clock, ids, seconds)
    agents: list[Kubelet] = []
    work = [view.run(), recorder.run(), kubelet(place, client, view, recorder, network, clock, ids, agents)]
    if network is not None:
        work += node_network.work(place, network, clock, ids)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part) for part in work]
        await until_stopped()
        for agent in agents:
            await agent.shut_down()  # while the API and the network still serve it
        for task in running:
            task.cancel()


async def kubelet(
    place: Place,
    client: Client,
    view: View,
    recorder: Recorder,
    network: Network | None,
    clock: Clock,
    ids: Ids,
    running: list[Kubelet],
) -> None:
    """Without a network the node is simulated. `running`: where the kubelet is found as soon as it is there."""
    hidden = (place.cluster.data, place.cluster.run)
    hosts = place.cluster.data / "certs.d"
    images = ImageStore(place.runtime / "images", hidden=hidden, hosts=hosts, source=registry_source(place))
    async with AsyncExitStack() as opened:
        sock = kubelet_socket(place)
        config = kubelet_config(place, sock.getsockname()[1])
        found = await engine(place, images, network, config.request_seconds, clock, ids, opened)
        objects = Objects(client, clock)
        agent = Kubelet(
            client=client,
            view=view,
            runtime=found.runtime,
            volumes=PodVolumes(config.pods_directory, objects, RealMounts(), clock, ids) if network else NoVolumes(),
            recorder=recorder,
            clock=clock,
            ids=ids,
            config=config,
            objects=objects,
            cgroups=KernelCgroups(cgroup_detect.detect()) if network else None,
            simulated=network is None,
        )
        running.append(agent)
        shown = tls(place, clock.wall())
        listeners = [await serve(KubeletServer(agent, found.samples), sock=sock, ssl=shown)]
        listeners.append(await serve(ImageService(images, found.builder), unix_path=str(place.images_socket)))
        if place.cluster.registry_port and place.is_machine:
            listeners += await registry(place, images, clock, ids)
        for listener in listeners:
            opened.push_async_callback(listener.close)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(agent.run())
            if place.cluster.joined:
                tasks.create_task(keep_serving_certificate(place, client, view, shown, clock))
            if network is not None:
                await found.attached()
                agent.parts.node.news.set()


def kubelet_config(place: Place, port: int) -> KubeletConfig:
    cluster = place.cluster
    config = KubeletConfig(
        node_name=place.name,
        node_ips=tuple(map(str, place.addresses)),
        node_labels={} if cluster.simulated else {NETWORKED: "true"},
        data_directory=str(place.data),
        logs_directory=str(place.data / "pod-logs"),
        cgroup_root=f"{place.cgroup}/pods",
        cluster_dns=(str(cluster.dns_address),),
        cluster_domain=CLUSTER_DOMAIN,
        port=port,
        capacity=capacity(place),
        kernel_log="/dev/kmsg",
    )
    settings = place.kubelet_settings
    found = given(settings, lambda text: configured(config, text), config)
    if found.refuses_swap and swap_bytes():
        raise SystemExit(
            f"{settings}: running with swap on is not supported, please disable swap or set failSwapOn to false"
        )
    return replace(found, credential_providers=given(place.credential_providers, providers_of, ()))


def given(path: Path, read: Callable[[str], T], otherwise: T) -> T:
    """What a file of the machine's owner says, where there is one."""
    try:
        return read(path.read_text()) if path.exists() else otherwise
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from error


def shutdown_seconds(place: Place) -> float:
    try:
        return kubelet_config(place, 0).shutdown.total_seconds
    except SystemExit:
        return 0.0  # such a node does not even start


def kubelet_socket(place: Place) -> socket.socket:
    """On the node's own address; simulated nodes share loopback, where others may have the usual port."""
    address = (str(place.address), 0 if place.cluster.simulated else KUBELET_PORT)
    sock = socket.socket(socket.AF_INET6 if place.address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    return sock


def tls(place: Place, now: float) -> ssl.SSLContext:
    """A machine that has joined asks for its certificate; until it has one, it shows one that nobody believes."""
    pki = place.cluster.pki
    pair, ca = read_pair(pki, place.serving_pair), read_certificate(pki, "ca")
    if pair is None and place.cluster.joined:
        pair = self_signed(place.name, now)
    assert pair is not None and ca is not None, "credentials.prepare or kybern join made them"
    return server_context(pair.certificate, pair.key, client_ca=ca)
