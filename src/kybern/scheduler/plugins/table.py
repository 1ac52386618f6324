"""The plugins by the names that a configuration file calls them, and a profile from what the file says of it.

`multiPoint` enables a plugin at all its points; what is said of one point stands above it. Without a word about a
plugin, it is as in the default profile.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from kybern.api.core_v1 import NodeAffinity as Affinity
from kybern.api.core_v1 import TopologySpreadConstraint
from kybern.scheduler.binding import DefaultBinder
from kybern.scheduler.extension_points import (
    BindPlugin,
    PermitPlugin,
    Plugin,
    PostBindPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    Profile,
    QueueSortPlugin,
    ReservePlugin,
    Weighted,
)
from kybern.scheduler.framework import FilterPlugin, ScorePlugin
from kybern.scheduler.plugins.dynamic_resources import DynamicResources
from kybern.scheduler.plugins.image_locality import ImageLocality
from kybern.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from kybern.scheduler.plugins.node_name import NodeName
from kybern.scheduler.plugins.node_ports import NodePorts
from kybern.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kybern.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kybern.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from kybern.scheduler.plugins.pod_topology_spread import DEFAULTS, PodTopologySpread
from kybern.scheduler.plugins.priority_sort import PrioritySort
from kybern.scheduler.plugins.scheduling_gates import SchedulingGates
from kybern.scheduler.plugins.taint_toleration import TaintToleration
from kybern.scheduler.plugins.volume_binding import BIND_SECONDS, VolumeBinding
from kybern.scheduler.plugins.volume_restrictions import VolumeRestrictions
from kybern.scheduler.plugins.volume_zone import VolumeZone
from kybern.scheduler.preemption import DefaultPreemption
from kybern.scheduler.shares import QueueShares
from kybern.scheduler.strategies import SHAPE_SCORE_MAX, Shape, Strategy
from kybern.scheduler.volume_scores import MUCH_LEFT

T = TypeVar("T")
Factory = Callable[[Mapping[str, Any]], Plugin]
"""From its args to the plugin."""


class Args(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    api_version: str = ""
    kind: str = ""


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    weight: int = 1


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    utilization: int
    score: int


class ToCapacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: list[Point] = []


class ScoringStrategy(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: str = "LeastAllocated"
    resources: tuple[Resource, ...] = (Resource("cpu"), Resource("memory"))
    requested_to_capacity_ratio: ToCapacity | None = None


class FitArgs(Args, frozen=True):
    scoring_strategy: ScoringStrategy = ScoringStrategy()
    ignored_resources: list[str] = []
    ignored_resource_groups: list[str] = []


class BalancedArgs(Args, frozen=True):
    resources: tuple[Resource, ...] = (Resource("cpu"), Resource("memory"))


class NodeAffinityArgs(Args, frozen=True):
    added_affinity: Affinity | None = None


class SpreadArgs(Args, frozen=True):
    default_constraints: list[TopologySpreadConstraint] = []
    defaulting_type: str = "System"


class InterPodAffinityArgs(Args, frozen=True):
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False


class VolumeBindingArgs(Args, frozen=True):
    bind_timeout_seconds: float = BIND_SECONDS
    shape: list[Point] = []


class PreemptionArgs(Args, frozen=True):
    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100


def fit(told: Mapping[str, Any]) -> NodeResourcesFit:
    args = msgspec.convert(told, FitArgs)
    ignored = (*args.ignored_resources, *(f"{group}/" for group in args.ignored_resource_groups))
    return NodeResourcesFit(strategy_of(args.scoring_strategy), ignored)


def strategy_of(told: ScoringStrategy) -> Strategy:
    resources = tuple((one.name, one.weight) for one in told.resources)
    require(all(1 <= weight <= 100 for _, weight in resources), "scoringStrategy.resources: weights are from 1 to 100")
    types = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    require(told.type in types, f"scoringStrategy.type: one of {', '.join(types)}")
    points = (told.requested_to_capacity_ratio or ToCapacity()).shape
    if told.type == "RequestedToCapacityRatio":
        require(bool(points), "requestedToCapacityRatio.shape: at least one point")
    return Strategy(told.type, resources, shape_of(points, "requestedToCapacityRatio.shape"))  # type: ignore[arg-type]


def shape_of(points: Sequence[Point], at: str) -> Shape:
    require(all(0 <= one.utilization <= 100 for one in points), f"{at}: utilization is from 0 to 100")
    require(all(0 <= one.score <= SHAPE_SCORE_MAX for one in points), f"{at}: score is from 0 to {SHAPE_SCORE_MAX}")
    rising = [one.utilization for one in points]
    require(rising == sorted(set(rising)), f"{at}: utilization must rise")
    return tuple((one.utilization, one.score) for one in points)


def balanced(told: Mapping[str, Any]) -> NodeResourcesBalancedAllocation:
    return NodeResourcesBalancedAllocation(tuple(one.name for one in msgspec.convert(told, BalancedArgs).resources))


def node_affinity(told: Mapping[str, Any]) -> NodeAffinity:
    return NodeAffinity(msgspec.convert(told, NodeAffinityArgs).added_affinity)


def spread(told: Mapping[str, Any]) -> PodTopologySpread:
    args = msgspec.convert(told, SpreadArgs)
    require(args.defaulting_type in ("System", "List"), "defaultingType: System or List")
    if args.defaulting_type == "System":
        require(not args.default_constraints, "defaultConstraints: only with defaultingType List")
        return PodTopologySpread(DEFAULTS)
    for constraint in args.default_constraints:
        require(constraint.label_selector is None, "defaultConstraints: must not have a labelSelector")
        require(constraint.max_skew > 0, "defaultConstraints: maxSkew must be above 0")
    return PodTopologySpread(tuple(args.default_constraints))


def inter_pod_affinity(told: Mapping[str, Any]) -> InterPodAffinity:
    args = msgspec.convert(told, InterPodAffinityArgs)
    require(0 <= args.hard_pod_affinity_weight <= 100, "hardPodAffinityWeight: from 0 to 100")
    return InterPodAffinity(args.hard_pod_affinity_weight, args.ignore_preferred_terms_of_existing_pods)


def preemption(told: Mapping[str, Any]) -> DefaultPreemption:
    args = msgspec.convert(told, PreemptionArgs)
    require(0 <= args.min_candidate_nodes_percentage <= 100, "minCandidateNodesPercentage: from 0 to 100")
    require(args.min_candidate_nodes_absolute >= 0, "minCandidateNodesAbsolute: not below 0")
    return DefaultPreemption(args.min_candidate_nodes_absolute, args.min_candidate_nodes_percentage / 100)


def volume_binding(told: Mapping[str, Any]) -> VolumeBinding:
    args = msgspec.convert(told, VolumeBindingArgs)
    require(args.bind_timeout_seconds >= 0, "bindTimeoutSeconds: not below 0")
    return VolumeBinding(args.bind_timeout_seconds, shape_of(args.shape, "shape") or MUCH_LEFT)


def plain(plugin: Any) -> Factory:
    """One without args."""

    def made(told: Mapping[str, Any]) -> Plugin:
        msgspec.convert(told, Args)
        return plugin()  # type: ignore[no-any-return]

    return made


PLUGINS: dict[str, Factory] = {
    "PrioritySort": plain(PrioritySort),
    "SchedulingGates": plain(SchedulingGates),
    "NodeUnschedulable": plain(NodeUnschedulable),
    "NodeName": plain(NodeName),
    "TaintToleration": plain(TaintToleration),
    "NodeAffinity": node_affinity,
    "NodeDeclaredFeatures": plain(NodeDeclaredFeatures),
    "NodePorts": plain(NodePorts),
    "NodeResourcesFit": fit,
    "VolumeRestrictions": plain(VolumeRestrictions),
    "NodeVolumeLimits": plain(NodeVolumeLimits),
    "VolumeBinding": volume_binding,
    "VolumeZone": plain(VolumeZone),
    "PodTopologySpread": spread,
    "InterPodAffinity": inter_pod_affinity,
    "DynamicResources": plain(DynamicResources),
    "DefaultPreemption": preemption,
    "QueueShares": plain(QueueShares),
    "NodeResourcesBalancedAllocation": balanced,
    "ImageLocality": plain(ImageLocality),
    "DefaultBinder": plain(DefaultBinder),
}
"""In the order in which they are asked."""

WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}
DEFAULT_NAMES = tuple(PLUGINS)

POINTS: dict[str, type[Any]] = {
    "preEnqueue": PreEnqueuePlugin,
    "queueSort": QueueSortPlugin,
    "filter": FilterPlugin,
    "postFilter": PostFilterPlugin,
    "score": ScorePlugin,
    "reserve": ReservePlugin,
    "permit": PermitPlugin,
    "preBind": PreBindPlugin,
    "bind": BindPlugin,
    "postBind": PostBindPlugin,
}
WITH = {"preFilter": "filter", "preScore": "score"}
"""Points that are one here with another."""


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    weight: int = 0


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: list[Named] = []
    disabled: list[Named] = []


class PluginConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    args: dict[str, Any] = {}


class ProfileFile(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    scheduler_name: str = "default-scheduler"
    percentage_of_nodes_to_score: Any = None
    plugins: dict[str, Set] = {}
    plugin_config: list[PluginConfig] = []


def profile_of(told: Mapping[str, Any], at: str, more: Mapping[str, Factory], unseen: Sequence[str]) -> Profile:
    """`unseen`: resources that an extender looks after."""
    found = msgspec.convert(told, ProfileFile)
    factories = {**PLUGINS, **more}
    unknown = found.plugins.keys() - {*POINTS, *WITH, "multiPoint"}
    require(not unknown, f"{at}.plugins: unknown extension points: {', '.join(sorted(unknown))}")
    args = {config.name: config.args for config in found.plugin_config}
    require(len(args) == len(found.plugin_config), f"{at}.pluginConfig: a plugin is configured twice")
    if unseen:
        given = args.get("NodeResourcesFit", {})
        args["NodeResourcesFit"] = {**given, "ignoredResources": [*given.get("ignoredResources", ()), *unseen]}
    made: dict[str, Plugin] = {}

    def plugin(name: str) -> Plugin:
        require(name in factories, f"{at}: there is no plugin {name!r}")
        if name not in made:
            try:
                made[name] = factories[name](args.get(name, {}))
            except (ValueError, TypeError, msgspec.ValidationError) as error:
                raise ValueError(f"{at}.pluginConfig[{name}]: {error}") from error
        return made[name]

    for name in args:
        plugin(name)  # also what is not enabled must make sense

    def chosen(point: str) -> list[tuple[Any, int]]:
        """The plugins of one point, with the weights that they were given."""
        own = merged(found.plugins, point)
        everywhere = found.plugins.get("multiPoint", Set())
        off = {one.name for one in everywhere.disabled}
        said = {one.name for one in everywhere.enabled}
        usual = [Named(name) for name in DEFAULT_NAMES if not off & {name, "*"} and name not in said]
        general = [*usual, *everywhere.enabled]
        own_off, own_on = {one.name for one in own.disabled}, {one.name: one for one in own.enabled}
        first = [own_on.get(one.name, one) for one in general if one.name in own_on or not own_off & {one.name, "*"}]
        listed = first + [one for one in own.enabled if one.name not in {other.name for other in first}]
        found_here = []
        for one in listed:
            value = plugin(one.name)
            if isinstance(value, POINTS[point]):
                found_here.append((value, one.weight))
            elif one.name in own_on:
                raise ValueError(f"{at}.plugins.{point}: {one.name} does not extend this point")
        return found_here

    sorts = [value for value, _ in chosen("queueSort")]
    require(len(sorts) <= 1, f"{at}.plugins.queueSort: one plugin at most")
    points = {point: tuple(value for value, _ in chosen(point)) for point in POINTS}
    return Profile(
        scheduler_name=found.scheduler_name,
        pre_enqueue=points["preEnqueue"],
        queue_sort=sorts[0] if sorts else None,
        filters=points["filter"],
        post_filters=points["postFilter"],
        scorers=tuple(Weighted(value, weight or WEIGHTS.get(value.name, 1)) for value, weight in chosen("score")),
        reserve=points["reserve"],
        permit=points["permit"],
        pre_bind=points["preBind"],
        bind=points["bind"],
        post_bind=points["postBind"],
    )


def merged(plugins: Mapping[str, Set], point: str) -> Set:
    """What is said of a point, and of the one that goes with it."""
    parts = [
        plugins.get(name, Set()) for name in (point, *(before for before, with_ in WITH.items() if with_ == point))
    ]
    return Set([one for part in parts for one in part.enabled], [one for part in parts for one in part.disabled])


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
