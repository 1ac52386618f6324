"""What a KubeletConfiguration says about CPUs, memory and topology, as policies. ValueError where it is wrong.

Options that upstream still has as alpha are refused in its words: whoever sets one relies on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kybern.api.quantity import value
from kybern.kubelet.settings import one_of
from kybern.kubelet.topology.alignment import SCOPES, TopologyPolicy
from kybern.kubelet.topology.cpus import CpuPolicy
from kybern.kubelet.topology.hints import POLICIES
from kybern.kubelet.topology.machine import parse_cpus
from kybern.kubelet.topology.memory import MemoryPolicy

TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
CPU_OPTIONS = {
    "full-pcpus-only": "full_cores",
    "distribute-cpus-across-numa": "distribute",
    "strict-cpu-reservation": "strict",
    "prefer-align-cpus-by-uncorecache": "by_cache",
}
CPU_OPTIONS_ALPHA = ("align-by-socket", "distribute-cpus-across-cores")


def truth(name: str, given: Any) -> bool:
    if given not in TRUTHS:
        raise ValueError(f"bad value for option {name!r}: {given!r}")
    return TRUTHS[given]


def cpu_options(policy: CpuPolicy, given: Mapping[str, str]) -> CpuPolicy:
    for name, text in given.items():
        if name in CPU_OPTIONS_ALPHA:
            raise ValueError(f'CPU Manager Policy Alpha-level Options not enabled, but option "{name}" provided')
        if name not in CPU_OPTIONS:
            raise ValueError(f'unknown CPU Manager Policy option: "{name}"')
        changes: dict[str, Any] = {CPU_OPTIONS[name]: truth(name, text)}
        policy = replace(policy, **changes)
    if policy.by_cache and policy.distribute:
        raise ValueError(
            "static policy options prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at the same time"
        )
    return policy


def reserved_cpus(policy: CpuPolicy, given: str) -> CpuPolicy:
    """`0-1,4`."""
    return replace(policy, reserved_cpus=frozenset(parse_cpus(given)))


def reserved_memory(policy: MemoryPolicy, given: Sequence[Mapping[str, Any]]) -> MemoryPolicy:
    """`[{numaNode: 0, limits: {memory: 1Gi}}]`."""
    found: dict[int, dict[str, int]] = {}
    for entry in given:
        if entry.keys() != {"numaNode", "limits"}:
            raise ValueError("each entry has numaNode and limits")
        for kind, amount in entry["limits"].items():
            if kind in found.setdefault(entry["numaNode"], {}):
                raise ValueError(f"duplicate memory type {kind} of NUMA node {entry['numaNode']}")
            if kind != "memory" and not kind.startswith("hugepages-"):
                raise ValueError(f"the limit type {kind!r} is no memory")
            found[entry["numaNode"]][kind] = value(amount)
    return replace(policy, reserved=found)


def topology_options(policy: TopologyPolicy, given: Mapping[str, str]) -> TopologyPolicy:
    for name, text in given.items():
        if name == "prefer-closest-numa-nodes":
            policy = replace(policy, closest=truth(name, text))
        elif name == "max-allowable-numa-nodes":
            if not str(text).isdecimal() or int(text) < policy.nodes_max:
                raise ValueError(f"the minimum value of {name!r} is {policy.nodes_max}")
            policy = replace(policy, nodes_max=int(text))
        else:
            raise ValueError(f'unknown Topology Manager Policy option: "{name}"')
    return policy


def topology_policy(policy: TopologyPolicy, given: str) -> TopologyPolicy:
    return replace(policy, name=one_of(given, POLICIES))


def topology_scope(policy: TopologyPolicy, given: str) -> TopologyPolicy:
    if given not in SCOPES:
        raise ValueError(f"unknown scope: {given!r}")
    return replace(policy, scope=given)


def cpu_policy(policy: CpuPolicy, given: str) -> CpuPolicy:
    return replace(policy, static=one_of(given, ("none", "static")) == "static")


def memory_policy(policy: MemoryPolicy, given: str) -> MemoryPolicy:
    return replace(policy, static=one_of(given, ("None", "Static")) == "Static")
