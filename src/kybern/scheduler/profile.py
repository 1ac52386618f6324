"""The rules that the default scheduler goes by, in the order in which it asks them, on one page."""

from kybern.scheduler.framework import Profile, Weighted
from kybern.scheduler.plugins.image_locality import ImageLocality
from kybern.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.node_name import NodeName
from kybern.scheduler.plugins.node_ports import NodePorts
from kybern.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kybern.scheduler.plugins.node_unschedulable import NodeUnschedulable
from kybern.scheduler.plugins.pod_topology_spread import PodTopologySpread
from kybern.scheduler.plugins.taint_toleration import TaintToleration

DEFAULT_PROFILE = Profile(
    filters=(
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        PodTopologySpread(),
        InterPodAffinity(),
    ),
    scorers=(
        Weighted(TaintToleration(), 3),
        Weighted(NodeAffinity(), 2),
        Weighted(PodTopologySpread(), 2),
        Weighted(InterPodAffinity(), 2),
        Weighted(NodeResourcesFit(), 1),
        Weighted(NodeResourcesBalancedAllocation(), 1),
        Weighted(ImageLocality(), 1),
    ),
)
