"""Those who give CPUs and memory out on this machine, as its kubelet is configured. ValueError where that cannot be."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kybern.api.quantity import milli, value
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.devices.inventory import Inventory
from kybern.kubelet.eviction.thresholds import reserved
from kybern.kubelet.topology.alignment import Alignment
from kybern.kubelet.topology.cpus import CpuPolicy, Cpus
from kybern.kubelet.topology.machine import Machine
from kybern.kubelet.topology.memory import Memory


@dataclass(frozen=True, slots=True)
class Givers:
    cpus: Cpus
    memory: Memory
    devices: Inventory
    alignment: Alignment


def givers_of(config: KubeletConfig, machine: Machine, devices: Inventory) -> Givers:
    cpus = Cpus(f"{config.data_directory}/cpus.json" if config.cpus.static else "", machine, cpu_policy_of(config))
    if config.memory.static:
        check_reserved_memory(config, machine)
    memory = Memory(f"{config.data_directory}/memory.json" if config.memory.static else "", machine, config.memory)
    devices.numa_nodes = machine.numbers
    return Givers(cpus, memory, devices, Alignment(machine, config.topology, (devices, cpus, memory)))


def cpu_policy_of(config: KubeletConfig) -> CpuPolicy:
    """At least one CPU is nobody's own, or everybody else would have none."""
    named = len(config.cpus.reserved_cpus)
    return replace(config.cpus, reserved=named or max(-(-milli(config.reserved.get("cpu", "0")) // 1000), 1))


def check_reserved_memory(config: KubeletConfig, machine: Machine) -> None:
    """What is kept on the nodes is, taken together, what is kept on the machine."""
    kept: dict[str, int] = {}
    for number, kinds in config.memory.reserved.items():
        if number not in machine.numbers:
            raise ValueError(
                f"the reserved memory configuration references a NUMA node {number} that does not exist on this machine"
            )
        for kind, size in kinds.items():
            kept[kind] = kept.get(kind, 0) + size
    wanted = reserved_memory(config, machine)
    for kind in sorted({*kept, *wanted}):
        if kept.get(kind, 0) != wanted.get(kind, 0):
            raise ValueError(
                f'the total amount "{kept.get(kind, 0)}" of type "{kind}" is not equal to the value '
                f'"{wanted.get(kind, 0)}" determined by Node Allocatable feature'
            )


def reserved_memory(config: KubeletConfig, machine: Machine) -> Mapping[str, int]:
    total = sum(node.memory.get("memory", 0) for node in machine.nodes)
    kept = value(config.reserved.get("memory", "0")) + reserved(config.eviction, {"memory": total}).get("memory", 0)
    return {"memory": kept} if kept else {}
