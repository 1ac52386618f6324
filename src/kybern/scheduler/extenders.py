"""Extenders: services elsewhere that filter and score nodes, bind pods and agree to victims, over HTTP (upstream's v1).

An extender is asked beside the scheduling of other pods: one that hangs delays the pods that need it, and nobody else.
Its answer is about the nodes that fitted when it was asked; whoever uses it looks again whether they still do.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kybern.api.codec import encode
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import ServiceUnavailable
from kybern.client import Client
from kybern.scheduler.extender_messages import (
    FilterResult,
    MetaVictims,
    about_binding,
    about_nodes,
    about_victims,
    binding_result,
    filter_result,
    priorities,
    victims_by_node,
)
from kybern.scheduler.extension_points import BindPlugin
from kybern.scheduler.framework import SCORE_MAX
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.victims import Candidate, importance
from kybern.web.client import Client as Connections
from kybern.web.client_errors import ClientError
from kybern.web.http import Request

T = TypeVar("T")

EXTENDER_SCORE_MAX = 10
ANSWER_BYTES_MAX = 16 * 1024 * 1024
HTTP_SECONDS = 5.0


class ExtenderFailed(ServiceUnavailable):
    """It could not be asked, or its answer makes no sense."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What all extenders together say of the nodes that fit."""

    scores: Mapping[str, int]
    """Of the nodes that are left."""
    refused: Mapping[str, str]
    hopeless: frozenset[str] = frozenset()
    """Of those refused, where fewer pods would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extender(BindPlugin):
    name = "Extender"
    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    bind_verb: str = ""
    preempt_verb: str = ""
    weight: int = 1
    timeout_seconds: float = HTTP_SECONDS
    node_cache_capable: bool = False
    managed: frozenset[str] = frozenset()
    ignorable: bool = False
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    """That its certificate is for, where that is not the address."""

    def interested(self, pod: Pod) -> bool:
        """In all pods, or in those that ask for a resource it manages."""
        return not self.managed or any(
            self.managed & {*(c.resources.requests or ()), *(c.resources.limits or ())}
            for c in (*pod.spec.containers, *(pod.spec.init_containers or ()))
            if c.resources is not None
        )

    async def filtered(self, pod: Pod, nodes: Sequence[Node]) -> FilterResult:
        about = about_nodes(pod, nodes, by_name=self.node_cache_capable)
        return await self._asked(self.filter_verb, about, filter_result)

    async def scored(self, pod: Pod, nodes: Sequence[Node]) -> dict[str, int]:
        found = await self._asked(
            self.prioritize_verb, about_nodes(pod, nodes, by_name=self.node_cache_capable), priorities
        )
        scale = self.weight * SCORE_MAX // EXTENDER_SCORE_MAX
        return {one.host: max(0, min(one.score, EXTENDER_SCORE_MAX)) * scale for one in found}

    async def victims(self, pod: Pod, candidates: Sequence[Candidate]) -> Mapping[str, MetaVictims]:
        """By node: of the candidates those that it agrees to, with whom it wants to leave."""
        about = about_victims(pod, candidates, by_name=self.node_cache_capable)
        return await self._asked(self.preempt_verb, about, victims_by_node)

    async def bind(self, pod: Pod, node: str, client: Client) -> bool:
        if not self.bind_verb or not self.interested(pod):
            return False
        try:
            found = await self._asked(self.bind_verb, about_binding(pod, node), binding_result)
            if found.error:
                raise ExtenderFailed(found.error)
        except ExtenderFailed:
            if self.ignorable:
                return False
            raise
        return True

    async def _asked(self, verb: str, about: Any, read: Callable[[Any], T]) -> T:
        url = self.url.rstrip("/")
        connections = Connections(
            url, ssl=self.tls, server_hostname=self.server_name or None, idle_connections_max=0,
            response_seconds=self.timeout_seconds,
        )  # fmt: skip
        request = Request(
            "POST", f"/{verb.lstrip('/')}", "", {"content-type": "application/json", "accept": "application/json"},
            encode(about),
        )  # fmt: skip
        try:
            response = await connections.send(request, timeout=self.timeout_seconds)
            body = await response.read(ANSWER_BYTES_MAX)
            if response.status != 200:
                raise ExtenderFailed(f"failed {verb} with extender at URL {url}, code {response.status}")
            return read(msgspec.json.decode(body))
        except (ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ExtenderFailed(f"failed {verb} with extender at URL {url}: {error}") from error


async def opinion(extenders: Sequence[Extender], pod: Pod, nodes: Sequence[Node]) -> Opinion:
    """One after the other, each about the nodes that are left."""
    refused: dict[str, str] = {}
    hopeless: set[str] = set()
    left = {node.metadata.name or "": node for node in nodes}
    for extender in extenders:
        if not extender.filter_verb or not extender.interested(pod) or not left:
            continue
        try:
            found = await extender.filtered(pod, list(left.values()))
            if found.error:
                raise ExtenderFailed(found.error)
        except ExtenderFailed:
            if extender.ignorable:
                continue
            raise
        kept = found.left
        more = {**(found.failed_nodes or {}), **(found.failed_and_unresolvable_nodes or {})}
        hopeless |= (found.failed_and_unresolvable_nodes or {}).keys()
        gone = [name for name in left if name not in kept or name in more]
        refused |= {name: more.get(name) or "node(s) didn't satisfy an extender" for name in gone}
        left = {name: node for name, node in left.items() if name not in refused}
    scores = dict.fromkeys(left, 0)
    for extender in extenders:
        if extender.prioritize_verb and extender.interested(pod) and len(left) > 1:
            try:
                for name, score in (await extender.scored(pod, list(left.values()))).items():
                    scores[name] = scores.get(name, 0) + score
            except ExtenderFailed:
                continue  # as upstream: a score less is no reason not to run
    return Opinion({name: score for name, score in scores.items() if name in left}, refused, frozenset(hopeless))


async def agreed(
    extenders: Sequence[Extender], pod: Pod, candidates: Sequence[Candidate], snapshot: Snapshot
) -> Sequence[Candidate]:
    """What is left of the candidates when every extender that has a say in preemption was heard, one after the other."""
    left = candidates
    for extender in extenders:
        if not extender.preempt_verb or not extender.interested(pod) or not left:
            continue
        try:
            found = await extender.victims(pod, left)
            left = [candidate_of(node, victims, snapshot, extender) for node, victims in found.items()]
        except ExtenderFailed:
            if not extender.ignorable:
                raise
    return left


def candidate_of(node: str, told: MetaVictims, snapshot: Snapshot, extender: Extender) -> Candidate:
    """Its victims are pods that are on that node now, and at least one."""
    here = snapshot.on_node.get(node, {})
    if not told.pods or any(one.uid not in here for one in told.pods):
        raise ExtenderFailed(f"extender {extender.url}: its victims on node {node!r} are no pods of that node")
    pods = sorted((here[one.uid].pod for one in told.pods), key=importance)
    return Candidate(node, tuple(pods), told.num_pdb_violations)
