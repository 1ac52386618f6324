"""CNI plugins as programs: what they are given, in which order, and what becomes of those that fail or hang."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.network.cni import UNCONFIGURED, CniNetwork, PluginFailed
from kybern.runtime.cri import PodSandboxConfig, PortMapping, SandboxMetadata, SandboxState, SandboxStatus

PLUGIN = """#!/bin/sh
input=$(cat)
echo "$CNI_COMMAND $(basename $0) $CNI_CONTAINERID $CNI_IFNAME" >> {log}
echo "$input" > {log}.$(basename $0).$CNI_COMMAND
{body}
"""
ADDS = """[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.22.0.5/16"}]}'; exit 0"""
CONFIG = PodSandboxConfig(
    metadata=SandboxMetadata(name="web-0", namespace="shop", uid="u"),
    annotations={"kubernetes.io/ingress-bandwidth": "1M"},
    port_mappings=(PortMapping(protocol="TCP", container_port=80, host_port=8080, host_ip=""),),
)


class Lab:
    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "log"
        (root / "net.d").mkdir()
        (root / "bin").mkdir()
        self.network = CniNetwork(
            root / "net.d", root / "results", SystemClock(), plugin_path=str(root / "bin"), plugin_seconds=0.5
        )

    def plugin(self, name: str, body: str = ADDS) -> None:
        path = self.root / "bin" / name
        path.write_text(PLUGIN.format(log=self.log, body=body))
        path.chmod(0o755)

    def configure(self, *plugins: dict[str, Any], version: str = "1.1.0") -> None:
        found = {"cniVersion": version, "name": "net", "plugins": plugins}
        (self.root / "net.d" / "10-net.conflist").write_text(json.dumps(found))

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def given(self, plugin: str, command: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(f"{self.log}.{plugin}.{command}").read_text())
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.plugin("first")
    made.plugin("second")
    made.configure({"type": "first"}, {"type": "second", "capabilities": {"portMappings": True, "bandwidth": True}})
    return made


async def test_each_plugin_gets_what_the_one_before_it_made_and_del_goes_the_other_way(lab: Lab) -> None:
    assert await lab.network.attach("s1", "/netns", CONFIG) == ("10.22.0.5",)
    assert await lab.network.attach("s1", "/netns", CONFIG) == ("10.22.0.5",), "once is enough"
    await lab.network.detach("s1", "/netns")
    await lab.network.detach("s1", "/netns")
    assert lab.calls() == [f"{c} {p} s1 eth0" for c, p in (
        ("ADD", "first"), ("ADD", "second"), ("DEL", "second"), ("DEL", "first"))]  # fmt: skip
    assert lab.given("second", "ADD")["prevResult"]["ips"] == [{"address": "10.22.0.5/16"}]
    assert lab.given("second", "DEL")["prevResult"]["ips"] == [{"address": "10.22.0.5/16"}]
    assert list(lab.network.results.iterdir()) == []


async def test_only_what_a_plugin_can_do_is_asked_of_it(lab: Lab) -> None:
    await lab.network.attach("s1", "/netns", CONFIG)
    assert "runtimeConfig" not in lab.given("first", "ADD")
    asked = lab.given("second", "ADD")["runtimeConfig"]
    assert asked["portMappings"] == [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]
    assert asked["bandwidth"]["ingressRate"] == 1_000_000


async def test_a_plugin_that_fails_is_told_by_its_own_words_and_leaves_nothing(lab: Lab) -> None:
    lab.plugin(
        "second",
        """[ $CNI_COMMAND = ADD ] && { echo '{"code": 7, "msg": "no addresses", "details": "in 10.22.0.0/16"}'; exit 1; }; exit 0""",
    )
    with pytest.raises(PluginFailed, match="no addresses: in 10"):
        await lab.network.attach("s1", "/netns", CONFIG)
    assert [call.split()[:2] for call in lab.calls()][-2:] == [["DEL", "second"], ["DEL", "first"]]
    assert list(lab.network.results.iterdir()) == []


async def test_a_plugin_that_hangs_is_ended_with_what_it_has_started_and_said(lab: Lab) -> None:
    lab.plugin("first", f"[ $CNI_COMMAND = ADD ] || exit 0; sleep 60 & echo $! > {lab.root}/child; wait")
    with pytest.raises(PluginFailed, match=r"ADD did not end in 0\.5 s"):
        await lab.network.attach("s1", "/netns", CONFIG)
    assert lab.calls()[-1] == "DEL first s1 eth0"
    child = Path("/proc", (lab.root / "child").read_text().strip(), "stat")
    async with asyncio.timeout(10):
        while child.exists() and child.read_text().split()[2] != "Z":  # nobody may have waited for it yet
            await asyncio.sleep(0.01)


async def test_a_missing_or_damaged_configuration_is_the_nodes_fault(lab: Lab) -> None:
    assert lab.network.fault() == ""
    (lab.root / "net.d" / "10-net.conflist").write_text("{")
    assert "error loading CNI config file" in lab.network.fault()
    (lab.root / "net.d" / "10-net.conflist").unlink()
    assert lab.network.fault() == UNCONFIGURED
    with pytest.raises(OSError, match=UNCONFIGURED):
        await lab.network.attach("s1", "/netns", CONFIG)


async def test_a_plugin_that_is_not_there_or_no_name_is_said(lab: Lab) -> None:
    for kind in ("third", "../bin/first"):
        lab.configure({"type": kind})
        with pytest.raises(PluginFailed, match="failed"):
            await lab.network.attach("s1", "/netns", CONFIG)


async def test_status_and_check_and_gc_are_asked_of_plugins_that_know_them(lab: Lab) -> None:
    await lab.network.attach("s1", "/netns", CONFIG)
    assert await lab.network.check("s1") == "" and await lab.network.status() == ""
    await lab.network.attach("s2", "/netns", replace(CONFIG, annotations={}))
    alive = SandboxStatus(id="s1", config=CONFIG, state=SandboxState.READY, created_at=0.0, ips=("10.22.0.5",))
    await lab.network.collect([alive])
    assert lab.given("first", "GC")["cni.dev/valid-attachments"] == [{"containerID": "s1", "ifname": "eth0"}]
    assert "DEL first s2 eth0" in lab.calls()
    lab.plugin("first", """[ $CNI_COMMAND = STATUS ] && { echo '{"code": 50, "msg": "no daemon"}'; exit 1; }; exit 0""")
    assert await lab.network.status() == 'plugin type="first" failed: no daemon'
    lab.configure({"type": "first"}, version="1.0.0")
    before = len(lab.calls())
    assert await lab.network.status() == "" and len(lab.calls()) == before
