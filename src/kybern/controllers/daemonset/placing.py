"""Where a DaemonSet's pods belong: one on every node that its template fits and whose taints it tolerates."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.apps_v1 import DaemonSet
from kybern.api.core_v1 import (
    Affinity,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    PodTemplateSpec,
    Toleration,
)
from kybern.api.node_selectors import fits
from kybern.controllers import taints

TOLERATED = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Verdict:
    should_run: bool
    may_stay: bool
    """A pod that runs already stays where no new one would be placed."""


def tolerations(spec: PodSpec) -> tuple[Toleration, ...]:
    """The template's own, and those every daemon has: it runs where nothing else would yet. A template cannot bound the
    time of these."""
    wanted = [*TOLERATED, *([ON_HOST_NETWORK] if spec.host_network else [])]
    added = [Toleration(key=key, operator="Exists", effect=effect) for key, effect in wanted]
    own = [unbounded(one) if unbounded(one) in added else one for one in spec.tolerations or ()]
    return (*own, *(toleration for toleration in added if toleration not in own))


def unbounded(toleration: Toleration) -> Toleration:
    return replace(toleration, toleration_seconds=None)


def judge(daemonset: DaemonSet, node: Node) -> Verdict:
    spec = daemonset.spec.template.spec
    if spec.node_name and spec.node_name != node.metadata.name:
        return Verdict(False, False)
    if not fits(spec, node):
        return Verdict(False, False)
    known = tolerations(spec)
    refused = [taint for taint in node.spec.taints or () if not taints.tolerating(known, taint)]
    evicted = any(taint.effect == "NoExecute" for taint in refused)
    kept_out = evicted or any(taint.effect == "NoSchedule" for taint in refused)
    return Verdict(not kept_out, not evicted)


def node_of(pod: Pod) -> str:
    """The node it runs on, or was made for."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields or ():
            if field.key == "metadata.name" and field.operator == "In" and field.values:
                return field.values[0]
    return ""


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        found[node_of(pod)].append(pod)
    return found


def template_for(template: PodTemplateSpec, node: str) -> PodTemplateSpec:
    """The template for a pod on this node: the scheduler binds it there, as soon as there is room."""
    spec = template.spec
    here = NodeSelectorRequirement(key="metadata.name", operator="In", values=(node,))
    known = spec.affinity or Affinity()
    node_affinity = known.node_affinity or NodeAffinity()
    required = node_affinity.required_during_scheduling_ignored_during_execution
    terms = required.node_selector_terms if required else (NodeSelectorTerm(),)
    pinned = NodeSelector(node_selector_terms=tuple(replace(term, match_fields=(here,)) for term in terms))
    affinity = replace(
        known, node_affinity=replace(node_affinity, required_during_scheduling_ignored_during_execution=pinned)
    )
    return replace(template, spec=replace(spec, affinity=affinity, tolerations=tolerations(spec)))
