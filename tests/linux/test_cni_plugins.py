"""Debian's CNI plugins as a node's network: packets between sandboxes that they wired, and nothing left afterwards."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kybern.aio.clock import SystemClock
from kybern.linux import netns
from kybern.linux.netlink import Netlink
from kybern.network.cni import CniNetwork, PluginFailed
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not os.access("/usr/lib/cni/bridge", os.X_OK), reason="apt-get install containernetworking-plugins"
    ),
]

RATES = {"kubernetes.io/ingress-bandwidth": "100M", "kubernetes.io/egress-bandwidth": "100M"}
CONFIG = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="d", uid="u"), annotations=RATES)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[CniNetwork]:
    machine = str(tmp_path / "machine")
    netns.create(machine)
    (tmp_path / "net.d").mkdir()
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "leases"), "ranges": [[{"subnet": "10.199.7.0/29"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}  # fmt: skip
    plugins = [
        {"type": "bridge", "bridge": "cni-test", "isGateway": True, "hairpinMode": True, "ipam": ipam},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]
    found = {"cniVersion": "1.0.0", "name": "test", "plugins": plugins}
    (tmp_path / "net.d" / "10-test.conflist").write_text(json.dumps(found))
    with netns.inside(machine):
        with Netlink() as here:
            here.set_up(here.index("lo"))
        yield CniNetwork(tmp_path / "net.d", tmp_path / "results", SystemClock(), plugin_path="/usr/lib/cni")
    for path in tmp_path.iterdir():
        if path.is_file() and netns.exists(str(path)):
            netns.remove(str(path))


async def test_two_sandboxes_reach_each_other_and_give_everything_back(network: CniNetwork, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("one", "two")]
    for path in paths:
        netns.create(path)
    [(one,), (two,)] = [
        await network.attach(name, path, CONFIG) for name, path in zip(("one", "two"), paths, strict=True)
    ]
    assert one != two
    with netns.inside(paths[1]):
        server = socket.create_server((two, 8080))
    with netns.inside(paths[0]):
        client = socket.create_connection((two, 8080), 5)
    accepted, peer = server.accept()
    assert peer[0] == one
    for each in (client, accepted, server):
        each.close()
    assert await network.check("one") == ""
    with Netlink(paths[0]) as inside:
        inside.delete_address(inside.index("eth0"), f"{one}/29")
    assert "failed" in await network.check("one")
    for name, path in zip(("one", "two"), paths, strict=True):
        await network.detach(name, path)
        await network.detach(name, path)
        netns.remove(path)
    leases = [path.name for path in (tmp_path / "leases" / "test").iterdir() if path.name[0].isdigit()]
    assert leases == [] and list(network.results.iterdir()) == []


async def test_an_exhausted_range_is_said_in_the_plugins_words(network: CniNetwork, tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(5)]
    for name in names:
        netns.create(str(tmp_path / name))
        await network.attach(name, str(tmp_path / name), CONFIG)
    netns.create(str(tmp_path / "last"))
    with pytest.raises(PluginFailed, match="no IP addresses available in range set"):
        await network.attach("last", str(tmp_path / "last"), CONFIG)
    for name in names:
        await network.detach(name, str(tmp_path / name))
        netns.remove(str(tmp_path / name))
    netns.remove(str(tmp_path / "last"))
