"""The configuration file: upstream's format in, profiles and extenders out, and an error that says where."""

import numpy as np
import pytest

from kybern.scheduler.configuration import Configuration, WrongConfiguration, configuration_of, read_configuration
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from kybern.scheduler.plugins.node_affinity import NodeAffinity
from kybern.scheduler.plugins.node_resources import NodeResourcesFit
from kybern.scheduler.plugins.pod_topology_spread import PodTopologySpread
from kybern.scheduler.preemption import DefaultPreemption
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.strategies import Strategy, broken_line

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def read(text: str) -> Configuration:
    return configuration_of((HEAD + text).encode())


def weights(profile: Profile) -> dict[str, int]:
    return {scorer.plugin.name: scorer.weight for scorer in profile.scorers}


def test_without_a_word_every_profile_is_the_default_one() -> None:
    (profile,) = read("parallelism: 16\nleaderElection: {leaderElect: true}\n").profiles
    assert weights(profile) == weights(DEFAULT_PROFILE)
    assert weights(profile)["TaintToleration"] == 3 and weights(profile)["NodeResourcesFit"] == 1
    assert [p.name for p in profile.filters] == [p.name for p in DEFAULT_PROFILE.filters]
    assert read_configuration("").profiles == (DEFAULT_PROFILE,)


def test_plugins_are_taken_out_and_weighed_everywhere_or_at_one_point() -> None:
    one, two = read(
        """
profiles:
- plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit, weight: 7}]}
    filter: {disabled: [{name: InterPodAffinity}]}
    preScore: {disabled: [{name: PodTopologySpread}]}
- schedulerName: other
  plugins:
    multiPoint: {disabled: [{name: PodTopologySpread}, {name: DefaultPreemption}], enabled: [{name: NodeAffinity, weight: 9}]}
"""
    ).profiles
    assert weights(one) == {"NodeResourcesFit": 7}
    assert "InterPodAffinity" not in {p.name for p in one.filters} and "NodePorts" in {p.name for p in one.filters}
    assert two.scheduler_name == "other" and "DefaultPreemption" not in {p.name for p in two.post_filters}
    assert weights(two)["NodeAffinity"] == 9 and "PodTopologySpread" not in weights(two)
    assert "PodTopologySpread" not in {p.name for p in two.filters}


def test_args_reach_the_plugins() -> None:
    (profile,) = read(
        """
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args:
      ignoredResources: [example.com/foo]
      ignoredResourceGroups: [example.org]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: nvidia.com/gpu, weight: 5}, {name: cpu}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: NodeAffinity
    args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  - name: PodTopologySpread
    args: {defaultingType: List, defaultConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 50}
  - name: DefaultPreemption
    args: {minCandidateNodesPercentage: 20, minCandidateNodesAbsolute: 7}
"""
    ).profiles
    found = {type(plugin): plugin for plugin in (*profile.filters, *profile.post_filters)}
    fit, affinity, spread = found[NodeResourcesFit], found[NodeAffinity], found[PodTopologySpread]
    assert fit == NodeResourcesFit(
        Strategy("RequestedToCapacityRatio", (("nvidia.com/gpu", 5), ("cpu", 1)), ((0, 0), (100, 10))),
        ("example.com/foo", "example.org/"),
    )
    assert isinstance(affinity, NodeAffinity) and affinity.added is not None
    assert isinstance(spread, PodTopologySpread) and [one.max_skew for one in spread.defaults] == [2]
    assert isinstance(found[InterPodAffinity], InterPodAffinity) and found[InterPodAffinity].hard_weight == 50
    assert found[DefaultPreemption] == DefaultPreemption(7, 0.2)


def test_extenders_and_back_off() -> None:
    found = read(
        """
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
extenders:
- urlPrefix: http://127.0.0.1:1/x
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 3
  httpTimeout: 1m30s
  nodeCacheCapable: true
  ignorable: true
  managedResources: [{name: example.com/foo, ignoredByScheduler: true}, {name: example.com/bar}]
"""
    )
    (extender,) = found.extenders
    assert (extender.weight, extender.timeout_seconds, extender.ignorable) == (3, 90.0, True)
    assert extender.managed == {"example.com/foo", "example.com/bar"}
    (profile,) = found.profiles
    assert next(p for p in profile.filters if isinstance(p, NodeResourcesFit)).ignored == ("example.com/foo",)
    assert (found.backoff.first_seconds, found.backoff.max_seconds) == (2, 20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles: [{schedulerName: a}, {schedulerName: a}]", "schedulerName of its own"),
        ("profiles: [{plugins: {filter: {enabled: [{name: Nobody}]}}}]", r"profiles\[0\]: there is no plugin 'Nobody'"),
        ("profiles: [{plugins: {bind: {enabled: [{name: NodeName}]}}}]", "does not extend this point"),
        ("profiles: [{plugins: {mulitPoint: {}}}]", "unknown extension points: mulitPoint"),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
            "one of Least",
        ),
        ("profiles: [{pluginConfig: [{name: NodeName, args: {a: 1}}]}]", r"pluginConfig\[NodeName\].*`a`"),
        ("profile: []", "unknown field `profile`"),
        ("extenders: [{urlPrefix: ftp://x}]", "no HTTP address"),
        ("extenders: [{urlPrefix: http://x, httpTimeout: soon}]", "no duration"),
        ("extenders: [{urlPrefix: http://x, bindVerb: a}, {urlPrefix: http://y, bindVerb: b}]", "only one extender"),
        ("podMaxBackoffSeconds: 0.5", "podMaxBackoffSeconds"),
        ("- 1", "Expected `object`|expected apiVersion|while parsing|did not find"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(text)


def test_another_kind_of_file_is_not_taken(tmp_path: object) -> None:
    with pytest.raises(WrongConfiguration, match="expected apiVersion"):
        configuration_of(b"apiVersion: v1\nkind: Pod\n")
    with pytest.raises(WrongConfiguration, match="/nowhere"):
        read_configuration("/nowhere")


def test_the_broken_line_is_straight_between_its_points_and_level_beyond() -> None:
    shape = ((20, 2), (40, 10), (80, 0))
    assert broken_line(np.array([0, 20, 30, 40, 41, 60, 80, 100]), shape).tolist() == [20, 20, 60, 100, 98, 50, 0, 0]
