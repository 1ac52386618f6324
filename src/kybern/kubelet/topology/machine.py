"""The processors and memory of a machine and how near each other they are, read from the files in which the kernel says so.

Everything that decides takes the `Machine` as a value: one with eight NUMA nodes is a few lines of a test.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kybern.api.quantity import of_value
from kybern.kubelet.files import read_text

SYSTEM = "/sys/devices/system"
DISTANCE_SELF, DISTANCE_OTHER = 10, 20  # the firmware's own scale; machines without NUMA tell nothing


@dataclass(frozen=True, slots=True)
class Cpu:
    number: int
    core: int
    """Unique within its socket."""
    socket: int
    node: int = 0
    cache: int = 0
    """The last cache that it shares; unique in the machine."""


@dataclass(frozen=True, slots=True)
class NumaNode:
    number: int
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes of `memory` and of each `hugepages-<size>`."""
    distances: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    cpus: tuple[Cpu, ...] = ()
    nodes: tuple[NumaNode, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of its NUMA nodes."""
        return tuple(node.number for node in self.nodes)

    @property
    def threads_per_core(self) -> int:
        return len(self.cpus) // max(len({(cpu.socket, cpu.core) for cpu in self.cpus}), 1) or 1

    def distance(self, nodes: Iterable[int]) -> float:
        """The mean of the ways between them."""
        chosen = [node for node in self.nodes if node.number in set(nodes)]
        ways = [
            a.distances.get(b.number, DISTANCE_SELF if a is b else DISTANCE_OTHER)
            for index, a in enumerate(chosen)
            for b in chosen[index:]
        ]
        return sum(ways) / len(ways) if ways else 0.0


def read_machine(system: str = SYSTEM) -> Machine:
    """`system`: the directory that has `cpu` and `node`."""
    online = parse_cpus(read_text(f"{system}/cpu/online").strip())
    numbers = sorted(parse_cpus(read_text(f"{system}/node/online").strip())) or [0]
    home = {cpu: number for number in numbers for cpu in parse_cpus(_line(f"{system}/node/node{number}/cpulist"))}
    cpus = tuple(_cpu(system, number, home.get(number, 0)) for number in sorted(online))
    return Machine(cpus, tuple(_node(system, number, numbers) for number in numbers))


def _cpu(system: str, number: int, node: int) -> Cpu:
    here = f"{system}/cpu/cpu{number}"
    core, socket = _number(f"{here}/topology/core_id"), _number(f"{here}/topology/physical_package_id")
    return Cpu(number, core, socket, node, _last_cache(here))


def _last_cache(here: str) -> int:
    """The lowest of the CPUs that share it stands for it."""
    directory = f"{here}/cache"
    indexes = [name for name in (os.listdir(directory) if os.path.isdir(directory) else ()) if name.startswith("index")]
    if not indexes:
        return 0
    last = max(indexes, key=lambda name: _number(f"{directory}/{name}/level"))
    return min(parse_cpus(_line(f"{directory}/{last}/shared_cpu_list")), default=0)


def _node(system: str, number: int, numbers: list[int]) -> NumaNode:
    here = f"{system}/node/node{number}"
    total = next((int(line.split()[3]) for line in read_text(f"{here}/meminfo").splitlines() if "MemTotal:" in line), 0)
    memory = {"memory": total * 1024}
    pages = f"{here}/hugepages"
    for name in sorted(os.listdir(pages)) if os.path.isdir(pages) else ():
        size = int(name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        memory[f"hugepages-{of_value(size, 'binary')}"] = size * _number(f"{pages}/{name}/nr_hugepages")
    distances = (int(text) for text in _line(f"{here}/distance").split())
    return NumaNode(number, memory, dict(zip(numbers, distances, strict=False)))


def _line(path: str) -> str:
    return read_text(path).strip()


def _number(path: str) -> int:
    text = _line(path)
    return int(text) if text.isdecimal() else 0


def parse_cpus(text: str) -> set[int]:
    """`0-3,8`."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def cpus_text(numbers: Iterable[int]) -> str:
    """Likewise, the other way."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
