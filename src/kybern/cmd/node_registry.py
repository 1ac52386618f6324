"""The machine's image registry, for every node of it: `localhost:5000/app` is the same image wherever a pod lands.

People and their tools push to it on loopback, into the first node's store. Further nodes have loopbacks of their own: they
pull from the first one's address, where nothing can be pushed and pods, who reach it too, lack the password.
"""

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.cmd.config import in_url
from kybern.cmd.gate import port_of_machine
from kybern.cmd.place import Place, first
from kybern.runtime.images.endpoint import RegistryEndpoint
from kybern.runtime.images.mirror import MirrorEndpoint
from kybern.runtime.images.sources import Source
from kybern.runtime.images.store import ImageStore
from kybern.web.private_file import write_private
from kybern.web.server import Server, serve

KEY = "registry.key"


async def registry(place: Place, images: ImageStore, clock: Clock, ids: Ids) -> list[Server]:
    port, mirror = place.cluster.registry_port, MirrorEndpoint(images, clock, ids)
    mirror.password = f"{ids.rng.getrandbits(256):064x}"
    write_private(place.cluster.run / KEY, mirror.password.encode())
    outside = port_of_machine(place.cluster.gate_socket, "tcp", "127.0.0.1", port) if place.cluster.rootless else None
    return [
        await serve(RegistryEndpoint(images, clock, ids), port=port, sock=outside),
        await serve(mirror, host=str(place.address), port=port),
    ]


def registry_source(place: Place) -> Source | None:
    """Of a further node; the first one has the images itself."""
    port = place.cluster.registry_port
    if place.is_machine or not port or place.cluster.joined:
        return None
    domains = frozenset({f"localhost:{port}", f"127.0.0.1:{port}"})
    return Source(domains, f"{in_url(str(first(place.cluster).address))}:{port}", (place.cluster.run / KEY).read_text)
