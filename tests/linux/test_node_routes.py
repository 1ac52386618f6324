"""The ways to other nodes' pods in a kernel of the test's own: what somebody takes away of them is there again at the next look."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from unittest.mock import Mock

import pytest

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import Node, NodeAddress, NodeSpec, NodeStatus
from kybern.api.meta_v1 import ObjectMeta
from kybern.linux import netns
from kybern.linux.netlink import Netlink
from kybern.network.following import LOOK_SECONDS, NodesFollower
from kybern.network.peers import NETWORKED
from kybern.network.routes import NodeRoutes, Tunnel, tunnel_mac
from kybern.testing import virtual

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

TUNNEL = Tunnel("vx", 4242, "10.199.8.1", 1400)
PODS = "10.244.7.0/24"
OTHERS = ("10.98.0.0/16 via 10.199.8.9 dev wire", "10.244.0.0/24 dev wire scope link")
"""Routes that are none of ours to remove."""


class TwoNodes:
    """What a View says of them."""

    def list(self, kind: type) -> list[Node]:
        return [node("a", "10.199.8.1", "10.244.0.0/24"), node("b", "10.199.8.2", PODS)] if kind is Node else []

    def get(self, kind: type, name: str) -> Node:
        return next(found for found in self.list(kind) if found.metadata.name == name)

    def on_change(self, kind: type, call: object) -> None:
        """Nothing changes."""


def node(name: str, address: str, cidr: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels={NETWORKED: "true"}),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[None]:
    """Where this test then is: with a link that other machines are on."""
    path = str(tmp_path / "machine")
    netns.create(path)
    with netns.inside(path):
        with Netlink() as links:
            links.ensure_bridge("wire")
            links.set_up(links.index("wire"))
            links.ensure_address(links.index("wire"), "10.199.8.1/24")
        for route in OTHERS:
            ip(f"route add {route}")
        yield
    netns.remove(path)


def ip(command: str) -> str:
    program = "bridge" if command.startswith("fdb") else "ip"
    return subprocess.run([program, *command.split()], check=True, capture_output=True, text=True).stdout


def told(tunnel: Tunnel | None) -> dict[str, set[str]]:
    """What the kernel says of the ways, line by line."""
    commands = ["route"]
    if tunnel is not None:
        commands += [f"neigh show dev {tunnel.link}", f"fdb show dev {tunnel.link}", f"-4 addr show dev {tunnel.link}"]
    found = {
        command: re.sub(r"(?m)^\d+: ", "", ip(command)) for command in commands
    }  # a link that is made again has a new number
    return {command: {line.strip() for line in text.splitlines()} for command, text in found.items()}


@pytest.mark.parametrize(
    ("tunnel", "deed"),
    [
        (None, f"route del {PODS}"),
        (None, f"route replace {PODS} via 10.199.8.3"),
        (TUNNEL, f"route del {PODS}"),
        (TUNNEL, f"route replace {PODS} via 10.199.8.3"),
        (TUNNEL, "neigh del 10.244.7.0 dev vx"),
        (TUNNEL, "neigh replace 10.244.7.0 dev vx lladdr 02:00:00:00:00:01"),
        (TUNNEL, f"fdb del {tunnel_mac(PODS)} dev vx"),
        (TUNNEL, f"fdb replace {tunnel_mac(PODS)} dev vx dst 10.199.8.3"),
        (TUNNEL, "addr flush dev vx"),
        (TUNNEL, "link set vx down"),
        (TUNNEL, "link del vx"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_a_way_that_somebody_takes_away_is_there_again_at_the_next_look(tunnel: Tunnel | None, deed: str) -> None:
    async def scenario() -> None:
        ways = NodeRoutes([ip_network("10.244.0.0/16")], tunnel)
        follower = NodesFollower(TwoNodes(), "a", Mock(), ways, LoopClock(), Mock(), nothing, "t")  # type: ignore[arg-type]
        following = asyncio.create_task(follower.run())
        await asyncio.sleep(LOOK_SECONDS / 2)
        before = told(tunnel)
        assert any(line.startswith(PODS) for line in before["route"])
        ip(deed)
        await asyncio.sleep(LOOK_SECONDS)
        assert told(tunnel) == before
        following.cancel()

    virtual.run(scenario())


async def nothing(text: str) -> None:
    """The guard's rules have their own tests."""
