"""What the policies' rules are worked out again for, and what not."""

from typing import Any

from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Namespace, Pod
from kybern.api.networking_v1 import NetworkPolicy
from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata, SandboxState, SandboxStatus

POD = from_builtins(Pod, {
    "metadata": {"name": "a", "namespace": "x", "uid": "u", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
    "status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "phase": "Running"},
})  # fmt: skip
DENY = from_builtins(NetworkPolicy, {"metadata": {"name": "deny", "namespace": "x"}, "spec": {"podSelector": {}}})


class Api:
    def __init__(self) -> None:
        self.policies: list[NetworkPolicy] = []
        self.listed: list[type[Any]] = []
        self.calls: dict[type[Any], Any] = {}

    def list(self, kind: type[Any], namespace: str | None = None) -> Any:
        self.listed.append(kind)
        return {NetworkPolicy: self.policies, Pod: [POD], Namespace: []}[kind]

    def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        return POD

    def on_change(self, kind: type[Any], call: Any) -> None:
        self.calls[kind] = call


async def applied(text: str) -> None:
    return


def enforcer(api: Api) -> PolicyEnforcer:
    made = PolicyEnforcer(api, applied, "t", (4,))
    config = PodSandboxConfig(metadata=SandboxMetadata(name="a", namespace="x", uid="u"), labels={"app": "web"})
    made.adopt([SandboxStatus(id="s", config=config, state=SandboxState.READY, created_at=0.0, ips=("10.0.0.2",))])
    return made


def test_without_policies_nobody_looks_at_the_clusters_pods() -> None:
    api = Api()
    assert not enforcer(api).wanted()[4].elements and Pod not in api.listed
    api.policies = [DENY]
    assert "10.0.0.2" in enforcer(api).wanted()[4].elements["ingress"] and Pod in api.listed


def test_only_a_pods_labels_addresses_ports_and_end_matter() -> None:
    api = Api()
    made = enforcer(api)

    def wakes(old: Pod | None, new: Pod | None) -> bool:
        made.changed.clear()
        api.calls[Pod](old, new)
        return made.changed.is_set()

    assert not wakes(POD, replace(POD, status=replace(POD.status, message="probed"))) and not wakes(POD, POD)
    assert wakes(None, POD) and wakes(POD, None)
    assert wakes(POD, replace(POD, status=replace(POD.status, phase="Succeeded")))
    assert wakes(POD, replace(POD, status=replace(POD.status, pod_ips=())))
    assert wakes(POD, replace(POD, metadata=replace(POD.metadata, labels={"app": "db"})))
    nowhere = replace(POD, status=replace(POD.status, pod_ips=()))
    relabelled = replace(nowhere, metadata=replace(POD.metadata, labels={}))
    assert wakes(nowhere, relabelled), "its sandbox here has an address already"
