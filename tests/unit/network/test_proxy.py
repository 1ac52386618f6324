"""What an agent that was started again does to the rules of pods that ran on without it."""

import asyncio
from typing import Any

from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.network.proxy import ADOPT_SECONDS, ServiceProxy
from kybern.network.rules import NodeNetwork
from kybern.network.sandbox_rules import SandboxRules
from kybern.runtime.cri import PodSandboxConfig, PortMapping, SandboxMetadata, SandboxState, SandboxStatus
from kybern.testing.virtual import run

NETWORK = NodeNetwork(
    table="t", version=4, node_addresses=("10.0.0.1",), node_pod_cidr="10.244.0.0/24", cluster_pod_cidr="10.244.0.0/16"
)
OPEN = PodSandboxConfig(
    metadata=SandboxMetadata(name="a", namespace="x", uid="u"),
    port_mappings=(PortMapping(protocol="TCP", container_port=8080, host_port=5432),),
)
RUNNING = SandboxStatus(id="s", config=OPEN, state=SandboxState.READY, created_at=0.0, ips=("10.244.0.2",))


class Nothing:
    def list(self, kind: type[Any], namespace: str | None = None) -> list[Any]:
        return []

    def get(self, kind: type[Any], name: str, namespace: str = "") -> None:
        return None

    def on_change(self, kind: type[Any], call: Any) -> None:
        return


def test_the_first_transaction_waits_for_the_host_ports_of_pods_that_run_but_not_for_ever() -> None:
    async def story(*, adopt: bool) -> list[str]:
        applied: list[str] = []

        async def apply(text: str) -> None:
            applied.append(text)

        proxy = ServiceProxy(Nothing(), apply, "n")
        rules = SandboxRules(PolicyEnforcer(Nothing(), apply, "p", (4,)), proxy)
        working = asyncio.ensure_future(proxy.run())
        proxy.use([NETWORK])
        await asyncio.sleep(ADOPT_SECONDS / 2)
        assert not applied
        if adopt:
            rules.adopt([RUNNING])
        await asyncio.sleep(ADOPT_SECONDS)
        working.cancel()
        return applied

    [only] = run(story(adopt=True))
    assert "5432" in only and "10.244.0.2" in only
    [only] = run(story(adopt=False))
    assert "table ip t" in only
