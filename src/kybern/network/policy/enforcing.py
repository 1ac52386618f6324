"""Keeps the kernel's policy tables equal to what the API says, for the pods of this node.

- A pod's rules are in force before it has a process: `admit` returns once they are. While the API has not been heard
  yet, no pod is admitted.
- The first transaction replaces what an earlier process left, in one step; it waits until the pods that run already are
  known (`adopt`), so none of them is ever without its rules.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kybern.api.core_v1 import Namespace, Pod
from kybern.api.networking_v1 import NetworkPolicy
from kybern.linux.nft import RulesRefused
from kybern.network.follow import Apply, Followed, changed_within
from kybern.network.nftables import Ruleset, transaction
from kybern.network.policy.model import Endpoint, World, endpoint_of, named_ports
from kybern.network.policy.rules import FAMILIES, frame, ruleset
from kybern.runtime.cri import PodSandboxConfig, SandboxStatus

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A sandbox of this node, as it was made."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    ips: tuple[str, ...]


class PolicyEnforcer:
    def __init__(self, view: Followed, apply: Apply, table: str, versions: Sequence[int]) -> None:
        self.view, self.apply, self.table, self.versions = view, apply, table, versions
        self.local: dict[str, LocalPod] = {}
        """By sandbox."""
        self.programmed: dict[int, Ruleset] | None = None
        """What the kernel holds; None when that is not known."""
        self.changed = asyncio.Event()
        self.distrusted = asyncio.Event()
        self.adopted = asyncio.Event()
        self.started = asyncio.Event()
        """The kernel holds the rules of what was there."""
        self.one_at_a_time = asyncio.Lock()
        for kind in (NetworkPolicy, Namespace):
            view.on_change(kind, lambda old, new: self.changed.set())
        view.on_change(Pod, self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Most of what is told of pods is nothing to policies."""
        if matters(old) != matters(new):
            self.changed.set()

    def adopt(self, sandboxes: Iterable[SandboxStatus]) -> None:
        """What is there when this process starts."""
        self.local |= {found.id: local_pod(found.config, found.ips) for found in sandboxes if found.ips}
        self.adopted.set()

    async def admit(self, sandbox_id: str, config: PodSandboxConfig, ips: tuple[str, ...]) -> None:
        """OSError when the rules cannot be made: a pod that should be isolated and is not must not run."""
        self.local[sandbox_id] = local_pod(config, ips)
        await self.started.wait()
        try:
            await self.sync()
        except RulesRefused as error:
            raise OSError(f"the network policies of the pod cannot be enforced: {error}") from error

    def dismiss(self, sandbox_id: str) -> None:
        if self.local.pop(sandbox_id, None) is not None:
            self.changed.set()

    def distrust(self) -> None:
        """Somebody else has changed the table: all of it is written again."""
        self.distrusted.set()
        self.changed.set()

    async def run(self) -> None:
        """From when the View is synced, until cancelled."""
        await self.adopted.wait()
        while True:
            self.changed.clear()
            try:
                await self.sync()
            except RulesRefused as error:
                log.error("policy rules were refused, all are written again in %.0f s: %s", RETRY_SECONDS, error)
                await changed_within(self.distrusted, RETRY_SECONDS)
                continue
            self.started.set()
            await self.changed.wait()

    async def sync(self) -> None:
        async with self.one_at_a_time:
            if self.distrusted.is_set():
                self.distrusted.clear()
                self.programmed = None
            wanted = self.wanted()
            known = self.programmed
            text = "".join(
                (frame(self.table, version) if known is None else "")
                + transaction(FAMILIES[version][0], self.table, known[version] if known else Ruleset(), rules)
                for version, rules in wanted.items()
            )
            self.programmed = None  # until the kernel has said yes
            if text:
                await self.apply(text)
            self.programmed = wanted

    def wanted(self) -> dict[int, Ruleset]:
        if not self.view.list(NetworkPolicy):
            return {version: Ruleset() for version in self.versions}  # and the cluster's pods need not be looked at
        world = world_of(self.view, self.local.values())
        ours = {pod.uid for pod in self.local.values()}
        local = [pod for pod in world.pods if pod.uid in ours]
        return {version: ruleset(world, local, version) for version in self.versions}


def matters(pod: Pod | None) -> tuple[Mapping[str, str], Endpoint | None] | None:
    return None if pod is None else (pod.metadata.labels or {}, endpoint_of(pod))


def local_pod(config: PodSandboxConfig, ips: tuple[str, ...]) -> LocalPod:
    meta = config.metadata
    return LocalPod(meta.namespace, meta.name, meta.uid, config.labels, ips)


def world_of(view: Followed, local: Iterable[LocalPod]) -> World:
    """A pod that has just been given its addresses has not told the API yet, so they are known from here."""
    pods = {pod.uid: pod for found in view.list(Pod) if (pod := endpoint_of(found)) is not None}
    for made in local:
        stored = view.get(Pod, made.name, made.namespace)
        same = stored if stored is not None and stored.metadata.uid == made.uid else None
        labels = (same.metadata.labels or {}) if same else made.labels
        known = pods.get(made.uid) or Endpoint(
            made.namespace, made.name, made.uid, labels, made.ips, named_ports(same) if same else ()
        )
        pods[made.uid] = replace(known, labels=labels, ips=made.ips)
    names = {namespace.metadata.name or "": namespace.metadata.labels or {} for namespace in view.list(Namespace)}
    return World(view.list(NetworkPolicy), list(pods.values()), names)
