"""Node ports by the machine's own loopback, when the node is in another network."""

import asyncio
import socket
from collections.abc import Callable

from kybern.aio.clock import SystemClock
from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.network.machine_ports import MachinePorts, Port, wanted

NODE = "127.0.0.2"


class Services:
    """A View of Services only."""

    def __init__(self, *found: Service) -> None:
        self.found = found
        self.told: Callable[[Service | None, Service | None], None] = lambda old, new: None

    def list(self, kind: type, namespace: str | None = None) -> tuple[Service, ...]:
        return self.found

    def get(self, kind: type, name: str, namespace: str = "") -> None:
        return None

    def on_change(self, kind: type, call: Callable[[Service | None, Service | None], None]) -> None:
        self.told = call


def service(*ports: ServicePort) -> Service:
    return Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(ports=ports))


def bound(port: Port) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if port.kind == "tcp" else socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port.number))
    if port.kind == "tcp":
        made.listen()
    return made


def test_node_ports_are_wanted_and_what_is_always_served_of_protocols_that_can_be_carried() -> None:
    found = wanted(
        [
            service(ServicePort(port=80, node_port=30080), ServicePort(port=53, node_port=30053, protocol="UDP")),
            service(ServicePort(port=80), ServicePort(port=9, node_port=30009, protocol="SCTP")),
        ],
        [Port("tcp", 80)],
    )
    assert found == {Port("tcp", 80), Port("tcp", 30080), Port("udp", 30053)}


async def test_what_comes_to_the_machines_port_goes_on_to_the_node_and_the_end_of_one_direction_leaves_the_other() -> (
    None
):
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # all of it: until the other side has ended
        writer.close()

    there = await asyncio.start_server(shout, NODE, 0)
    number = there.sockets[0].getsockname()[1]
    ports = MachinePorts(Services(), bound, NODE, [], SystemClock())
    await ports.become(frozenset({Port("tcp", number)}))
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"HELLO"
    writer.close()
    await ports.become(frozenset())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", number)) != 0
    there.close()


async def test_datagrams_come_back_to_whoever_sent_them() -> None:
    class Shout(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, sender: object) -> None:
            self.transport.sendto(data.upper(), sender)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    there, _ = await loop.create_datagram_endpoint(Shout, local_addr=(NODE, 0))
    number = there.get_extra_info("sockname")[1]
    ports = MachinePorts(Services(), bound, NODE, [], SystemClock())
    await ports.become(frozenset({Port("udp", number)}))
    for text in (b"one", b"two"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", number))
            await loop.sock_sendall(client, text)
            assert await asyncio.wait_for(loop.sock_recv(client, 64), 5) == text.upper()
    await ports.become(frozenset())
    there.close()
    await asyncio.sleep(0)  # transports close in the loop's next round


async def test_a_port_that_cannot_be_had_is_tried_again_when_services_change() -> None:
    tries: list[Port] = []

    def refused(port: Port) -> socket.socket:
        tries.append(port)
        raise PermissionError(13, "Permission denied")

    services = Services()
    ports = MachinePorts(services, refused, NODE, [Port("tcp", 80)], SystemClock())
    running = asyncio.ensure_future(ports.run())
    for count in (1, 2):
        while len(tries) < count:
            await asyncio.sleep(0)
        services.told(None, None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert set(tries) == {Port("tcp", 80)} and ports.refused == {Port("tcp", 80): "Permission denied"}
