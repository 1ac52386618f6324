"""Which CPUs to take of those that are free, so that what shares a core, a cache or memory belongs to one container.

- `packed`: whole NUMA nodes and sockets before whole cores, those before single threads; from where least is left.
- `distributed`: as many from each of as few NUMA nodes as have enough.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import pstdev

from kybern.kubelet.topology.machine import Cpu, Machine

Key = tuple[int, ...]
Fields = tuple[str, ...]

NODE, SOCKET, CACHE, CORE = ("node",), ("socket",), ("node", "cache"), ("socket", "core")


def packed(machine: Machine, free: Iterable[int], count: int, *, by_cache: bool = False) -> list[int]:
    """So many of the free ones, or all where there are fewer."""
    wanted = set(free)
    left = [cpu for cpu in machine.cpus if cpu.number in wanted]
    nodes_are_larger = len({cpu.socket for cpu in machine.cpus}) >= len(machine.nodes)
    outer: tuple[Fields, ...] = (NODE, SOCKET) if nodes_are_larger else (SOCKET, NODE)
    taken: list[Cpu] = []
    for fields in (*outer, *((CACHE,) if by_cache else ()), CORE):
        whole = _grouped(machine.cpus, fields)
        for key, members in _fullest_first(left, fields, outer).items():
            if len(members) == len(whole[key]) and 1 < len(members) <= count - len(taken):
                taken += members
        left = [cpu for cpu in left if cpu not in taken]
    return sorted(cpu.number for cpu in (*taken, *_singles(left, taken, outer)[: max(count - len(taken), 0)]))


def _singles(left: Sequence[Cpu], taken: Sequence[Cpu], outer: tuple[Fields, ...]) -> list[Cpu]:
    """Near what was taken, and from cores that are broken into already."""
    near = {cpu.socket for cpu in taken}
    cores, groups = _grouped(left, CORE), _grouped(left, outer[0])
    return sorted(
        left,
        key=lambda cpu: (
            cpu.socket not in near,
            len(groups[_key(cpu, outer[0])]),
            _key(cpu, outer[0]),
            len(cores[_key(cpu, CORE)]),
            cpu.core,
            cpu.number,
        ),
    )


def distributed(machine: Machine, free: Iterable[int], count: int, *, group: int = 1) -> list[int]:
    """In groups of so many, as full cores are. Packed, where they cannot be distributed so."""
    wanted = set(free)
    if count % group:
        return packed(machine, wanted, count)
    by_node = {node: {cpu.number for cpu in machine.cpus if cpu.node == node} & wanted for node in machine.numbers}
    for size in range(1, len(by_node) + 1):
        each, rest = divmod(count // group, size)
        options = [
            (_spread(by_node, chosen, each * group, more, group), chosen, more)
            for chosen in combinations(sorted(by_node), size)
            for more in combinations(chosen, rest)
            if all(len(by_node[node]) >= (each + (node in more)) * group for node in chosen)
        ]
        if options:
            _, chosen, more = min(options)
            shares = {node: (each + (node in more)) * group for node in chosen}
            return sorted(n for node, share in shares.items() for n in packed(machine, by_node[node], share))
    return packed(machine, wanted, count)


def _spread(by_node: dict[int, set[int]], chosen: Key, each: int, more: Key, group: int) -> float:
    """How unevenly the free ones are left over the nodes."""
    left = [len(free) - (each * (node in chosen) + group * (node in more)) for node, free in by_node.items()]
    return pstdev(left)


def _fullest_first(cpus: Sequence[Cpu], fields: Fields, outer: tuple[Fields, ...]) -> dict[Key, list[Cpu]]:
    """Groups by how little is free around them."""
    around = [_grouped(cpus, level) for level in outer]
    found = _grouped(cpus, fields)

    def room(key: Key) -> tuple[int, ...]:
        first = found[key][0]
        return (*(len(groups[_key(first, level)]) for groups, level in zip(around, outer, strict=True)), *key)

    return {key: found[key] for key in sorted(found, key=room)}


def _key(cpu: Cpu, fields: Fields) -> Key:
    return tuple(getattr(cpu, field) for field in fields)


def _grouped(cpus: Iterable[Cpu], fields: Fields) -> dict[Key, list[Cpu]]:
    found: dict[Key, list[Cpu]] = defaultdict(list)
    for cpu in cpus:
        found[_key(cpu, fields)].append(cpu)
    return found
