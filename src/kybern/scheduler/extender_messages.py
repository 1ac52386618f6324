"""What the scheduler and an extender tell each other, in the words of upstream's extender/v1.

Its types have no names of their own for JSON, so their fields go as Go calls them: `NodeNames`. Go reads names in any case,
and so are answers read here: extenders have been written with `nodenames` too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.scheduler.victims import Candidate

T = TypeVar("T")


def without_case(name: str) -> str:
    return name.replace("_", "")


class Named(msgspec.Struct, frozen=True):
    name: str = ""


class ListedNode(msgspec.Struct, frozen=True):
    metadata: Named = Named()


class ListedNodes(msgspec.Struct, frozen=True):
    items: list[ListedNode] | None = None


class FilterResult(msgspec.Struct, frozen=True, rename=without_case):
    nodes: ListedNodes | None = None
    node_names: list[str] | None = None
    failed_nodes: dict[str, str] | None = None
    failed_and_unresolvable_nodes: dict[str, str] | None = None
    error: str = ""

    @property
    def left(self) -> set[str]:
        if self.node_names is not None:
            return set(self.node_names)
        return {node.metadata.name for node in (self.nodes and self.nodes.items) or ()}


class HostPriority(msgspec.Struct, frozen=True):
    host: str = ""
    score: int = 0


class BindingResult(msgspec.Struct, frozen=True):
    error: str = ""


class MetaPod(msgspec.Struct, frozen=True):
    uid: str = ""


class MetaVictims(msgspec.Struct, frozen=True, rename=without_case):
    pods: list[MetaPod] | None = None
    num_pdb_violations: int = 0


# What is asked.


def about_nodes(pod: Pod, nodes: Sequence[Node], *, by_name: bool) -> dict[str, Any]:
    """Of nodes that the extender knows by itself only the names."""
    listed = {"metadata": {}, "items": [to_builtins(node) for node in nodes]}
    names = [node.metadata.name for node in nodes]
    return {"Pod": to_builtins(pod), "Nodes": None if by_name else listed, "NodeNames": names if by_name else None}


def about_victims(pod: Pod, candidates: Sequence[Candidate], *, by_name: bool) -> dict[str, Any]:
    told = {
        one.node: {
            "Pods": [{"UID": victim.metadata.uid} if by_name else to_builtins(victim) for victim in one.victims],
            "NumPDBViolations": one.broken_budgets,
        }
        for one in candidates
    }
    return {"Pod": to_builtins(pod), "NodeNameToMetaVictims" if by_name else "NodeNameToVictims": told}


def about_binding(pod: Pod, node: str) -> dict[str, Any]:
    meta = pod.metadata
    return {"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid or "", "Node": node}


# What is answered. A msgspec.ValidationError for what is no such answer.


def filter_result(said: Any) -> FilterResult:
    return msgspec.convert(any_case(said), FilterResult)


def priorities(said: Any) -> list[HostPriority]:
    return [msgspec.convert(any_case(one), HostPriority) for one in msgspec.convert(said, list[Any] | None) or ()]


def binding_result(said: Any) -> BindingResult:
    return msgspec.convert(any_case(said), BindingResult)


def victims_by_node(said: Any) -> Mapping[str, MetaVictims]:
    nodes = msgspec.convert(any_case(said).get("nodenametometavictims"), dict[str, Any] | None) or {}
    return {node: victims_of(any_case(told)) for node, told in nodes.items()}


def victims_of(told: dict[str, Any]) -> MetaVictims:
    pods = [any_case(one) for one in msgspec.convert(told.get("pods"), list[Any] | None) or ()]
    return msgspec.convert({**told, "pods": pods}, MetaVictims)


def any_case(said: Any) -> dict[str, Any]:
    """An object with its names in lower case; nothing is one that says nothing."""
    return {name.lower(): value for name, value in (msgspec.convert(said, dict[str, Any] | None) or {}).items()}
