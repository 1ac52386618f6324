"""Where things lie near each other: the machine as a value, hints and policies, memory of NUMA nodes, whole pods."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.devices.inventory import Device, Inventory
from kybern.kubelet.topology.alignment import REFUSED, Alignment, TopologyPolicy
from kybern.kubelet.topology.cpus import CpuPolicy, Cpus
from kybern.kubelet.topology.givers import check_reserved_memory
from kybern.kubelet.topology.hints import BEST_EFFORT, NONE, NOWHERE, RESTRICTED, SINGLE, Hint, Hints, best
from kybern.kubelet.topology.machine import Cpu, Machine, NumaNode, read_machine
from kybern.kubelet.topology.memory import Memory, MemoryPolicy

GI = 1 << 30
GPU = "example.com/gpu"


def machine(nodes: int = 2, cpus: int = 4, memory: int = 8 * GI, **kinds: int) -> Machine:
    """Each NUMA node a socket of so many cores."""
    return Machine(
        tuple(Cpu(node * cpus + n, n, node, node) for node in range(nodes) for n in range(cpus)),
        tuple(NumaNode(node, {"memory": memory, **kinds}) for node in range(nodes)),
    )


def hint(*nodes: int, preferred: bool = True) -> Hint:
    return Hint(frozenset(nodes), preferred=preferred)


# What sysfs says.


def test_a_machine_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    files = {"cpu/online": "0-3\n", "node/online": "0-1\n"}
    for n in range(4):
        files |= {f"cpu/cpu{n}/topology/core_id": f"{n % 2}", f"cpu/cpu{n}/topology/physical_package_id": f"{n // 2}"}
        files |= {f"cpu/cpu{n}/cache/index0/level": "1", f"cpu/cpu{n}/cache/index0/shared_cpu_list": f"{n}"}
        files |= {f"cpu/cpu{n}/cache/index3/level": "3", f"cpu/cpu{n}/cache/index3/shared_cpu_list": "0-1,2-3"}
    for n in range(2):
        files |= {
            f"node/node{n}/cpulist": f"{2 * n}-{2 * n + 1}",
            f"node/node{n}/distance": "10 21" if n == 0 else "21 10",
        }
        files |= {f"node/node{n}/meminfo": f"Node {n} MemTotal:       {n + 1} kB\nNode {n} MemFree:  0 kB\n"}
        files |= {f"node/node{n}/hugepages/hugepages-2048kB/nr_hugepages": "3\n"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_machine(str(tmp_path))
    assert found.cpus[3] == Cpu(3, core=1, socket=1, node=1, cache=0)
    assert found.nodes[1] == NumaNode(1, {"memory": 2048, "hugepages-2Mi": 6 << 20}, {0: 21, 1: 10})
    assert found.distance({0}) == 10 and found.distance({0, 1}) == pytest.approx(41 / 3)


def test_this_machine_has_cpus_and_memory_on_its_nodes() -> None:
    found = read_machine()
    assert found.cpus and found.nodes and {cpu.node for cpu in found.cpus} <= set(found.numbers)


# How hints become one.

ANY2 = [hint(0), hint(1), hint(0, 1, preferred=False)]


@pytest.mark.parametrize(
    ("policy", "said", "place", "fits"),
    [
        (NONE, [{"cpu": []}], NOWHERE, True),
        (BEST_EFFORT, [{}], hint(0, 1), True),
        (BEST_EFFORT, [{"cpu": ANY2}, {GPU: [hint(1)]}], hint(1), True),
        (RESTRICTED, [{"cpu": ANY2}, {GPU: [hint(1)]}], hint(1), True),
        (RESTRICTED, [{"cpu": [hint(0)]}, {GPU: [hint(1)]}], hint(0, 1, preferred=False), False),
        (BEST_EFFORT, [{"cpu": [hint(0)]}, {GPU: [hint(1)]}], hint(0, 1, preferred=False), True),
        (RESTRICTED, [{"cpu": [hint(0, 1)]}, {GPU: ANY2}], hint(0, 1, preferred=False), False),  # not alike
        (RESTRICTED, [{"cpu": [hint(0, 1)]}, {GPU: [hint(0, 1)]}], hint(0, 1), True),
        (RESTRICTED, [{"cpu": []}], hint(0, 1, preferred=False), False),
        (RESTRICTED, [{GPU: None}, {"cpu": ANY2}], hint(0), True),
        (SINGLE, [{"cpu": ANY2}, {GPU: [hint(1)]}], hint(1), True),
        (SINGLE, [{"cpu": [hint(0, 1)]}], Hint(None, preferred=False), False),
        (SINGLE, [{}], Hint(None, preferred=True), True),
    ],
)
def test_policies_join_hints(policy: str, said: list[Hints], place: Hint, fits: bool) -> None:
    assert best(policy, machine(), said) == (place, fits)


def test_an_unhappy_pod_gets_as_many_nodes_as_its_largest_wish_needs() -> None:
    """GPUs need two nodes at least, and are on other ones than the CPUs would like."""
    cpu = [hint(0, preferred=False), hint(0, 1, preferred=False), hint(0, 1, 2, preferred=False)]
    gpu = [hint(0, 1, preferred=False), hint(0, 1, 2, preferred=False), hint(0, 1, 2, 3, preferred=False)]
    assert best(BEST_EFFORT, machine(4), [{"cpu": cpu}, {GPU: gpu}])[0] == hint(0, 1, preferred=False)


def test_of_two_places_of_one_size_the_closer_is_taken_where_that_is_asked_for() -> None:
    far, near = {0: 10, 1: 40, 2: 11}, {0: 40, 1: 10, 2: 40}
    nodes = (NumaNode(0, {}, far), NumaNode(1, {}, near), NumaNode(2, {}, {0: 11, 1: 40, 2: 10}))
    said: list[Hints] = [{"cpu": [hint(0, 1), hint(0, 2)]}]
    assert best(RESTRICTED, Machine((), nodes), said)[0] == hint(0, 1)
    assert best(RESTRICTED, Machine((), nodes), said, closest=True)[0] == hint(0, 2)


def test_eight_nodes_and_many_kinds_are_joined_in_little_work() -> None:
    large = machine(8)
    every: Hints = {f"example.com/{n}": [Hint(nodes) for nodes in _all_masks(8)] for n in range(6)}
    assert best(BEST_EFFORT, large, [every])[0] == hint(0)


def _all_masks(count: int) -> list[frozenset[int]]:
    return [frozenset(n for n in range(count) if bits >> n & 1) for bits in range(1, 1 << count)]


# Memory.


def pod(lab: Any, name: str, memory: str, *, cpu: str = "1", gpus: int = 0, init: str = "") -> Pod:
    def wants(amount: str) -> ResourceRequirements:
        found = {"cpu": Quantity(cpu), "memory": Quantity(amount)}
        devices = {GPU: Quantity(str(gpus))} if gpus else {}
        return ResourceRequirements(requests=found, limits=found | devices)

    first = (Container(name="first", resources=wants(init)),) if init else None
    made: Pod = lab.pod(name, Container(name="c", resources=wants(memory)), init_containers=first)
    return made


def memory(path: str = "", nodes: int = 2, **kinds: int) -> Memory:
    reserved = {0: {"memory": GI}}
    return Memory(path, machine(nodes, **kinds), MemoryPolicy(static=True, reserved=reserved))


def given(manager: Memory, pod: Pod, hint: Hint = NOWHERE) -> str:
    """Its nodes, or what it was refused with."""
    for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        if refusal := manager.allocate(pod, container, hint):
            return refusal.message
    return manager.of(pod.metadata.uid or "", "c")


def test_memory_comes_from_as_few_nodes_as_can_be_and_none_serves_two_groups(lab: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "memory.json")
    manager = memory(path)
    assert given(manager, pod(lab, "a", "6Gi")) == "0"
    assert given(manager, pod(lab, "b", "6Gi")) == "1"
    refused = "no NUMA nodes with enough memory is available"
    assert refused in given(manager, pod(lab, "c", "3Gi")), "neither node alone has it, and both serve alone"
    assert memory(path).of("uid-a", "c") == "0"
    manager.release("uid-a")
    manager.release("uid-b")
    assert given(manager, pod(lab, "large", "10Gi")) == "0-1"
    assert given(manager, pod(lab, "small", "1Gi")) == "0-1", "a node of a group serves nobody alone"
    assert "failed to find the default preferred hint" in given(manager, pod(lab, "strict", "1Gi"), Hint())
    assert refused in given(manager, pod(lab, "other", "9Gi"))


def test_a_hint_that_is_too_narrow_is_widened(lab: Any) -> None:
    wide = pod(lab, "a", "10Gi")
    assert given(memory(), wide, hint(1, preferred=False)) == "0-1"
    assert given(memory(), pod(lab, "b", "2Gi"), hint(1)) == "1"


def test_memory_of_an_init_container_is_used_again(lab: Any) -> None:
    manager = memory()
    assert given(manager, pod(lab, "a", "4Gi", init="6Gi")) == "0"
    assert [block.size for block in manager.of_pod("uid-a")["first"]] == [2 * GI]
    assert given(manager, pod(lab, "b", "1Gi")) == "0"
    assert given(manager, pod(lab, "c", "1Gi")) == "1", "six and one of seven are taken"


def test_huge_pages_are_no_plain_memory_any_more() -> None:
    manager = memory(**{"hugepages-2Mi": 2 * GI})
    assert manager.allocatable()[0] == {"memory": 5 * GI, "hugepages-2Mi": 2 * GI}


def test_pods_of_other_classes_take_no_part(lab: Any) -> None:
    assert memory().hints(lab.pod("a"), lab.pod("a").spec.containers) == {}


def test_the_memory_that_nodes_keep_is_what_the_kubelet_keeps() -> None:
    def config(kept: int) -> KubeletConfig:
        policy = MemoryPolicy(static=True, reserved={0: {"memory": kept}})
        return KubeletConfig(node_name="n", reserved={"memory": "1Gi"}, memory=policy)

    check_reserved_memory(config(GI + (100 << 20)), machine())
    with pytest.raises(ValueError, match=r'the total amount "1073741824" of type "memory" is not equal'):
        check_reserved_memory(config(GI), machine())
    with pytest.raises(ValueError, match="NUMA node 0 that does not exist"):
        check_reserved_memory(config(GI), Machine((), (NumaNode(3, {"memory": GI}),)))


# A pod's admission.


def alignment(policy: str, scope: str = "container") -> tuple[Alignment, Cpus, Memory, Inventory]:
    here = machine()
    cpus, mem, devices = Cpus("", here, CpuPolicy(static=True, reserved=1)), memory(), Inventory("")
    devices.numa_nodes = here.numbers
    devices.offered(GPU, {"g0": Device(nodes=(1,)), "g1": Device(nodes=(1,))})
    return Alignment(here, TopologyPolicy(name=policy, scope=scope), (devices, cpus, mem)), cpus, mem, devices


@pytest.mark.parametrize(("policy", "cpus", "nodes"), [(NONE, "1-2", "0"), (SINGLE, "4-5", "1")])
def test_what_a_container_gets_lies_where_its_device_is(lab: Any, policy: str, cpus: str, nodes: str) -> None:
    made, has_cpus, has_memory, devices = alignment(policy)
    assert made.admit(pod(lab, "a", "2Gi", cpu="2", gpus=1)) is None
    assert (has_cpus.of("uid-a", "c"), has_memory.of("uid-a", "c")) == (cpus, nodes)
    assert devices.of("uid-a", "c") == {GPU: ["g0"]}


def test_a_pod_that_cannot_be_aligned_is_refused_and_keeps_nothing(lab: Any) -> None:
    made, has_cpus, has_memory, devices = alignment(SINGLE)
    assert made.admit(pod(lab, "a", "2Gi", cpu="6", gpus=1, init="1Gi")) == REFUSED
    assert REFUSED.reason == "TopologyAffinityError"
    assert not (has_cpus.of_pod("uid-a") or has_memory.of_pod("uid-a") or devices.of("uid-a", "c"))
    loose, _, _, _ = alignment(BEST_EFFORT)
    assert loose.admit(pod(lab, "a", "2Gi", cpu="6", gpus=1)) is None


def test_the_scope_pod_keeps_containers_together(lab: Any) -> None:
    both = (pod(lab, "x", "1Gi", cpu="2").spec.containers[0], pod(lab, "x", "1Gi", cpu="2").spec.containers[0])
    named = [Container(name=name, resources=c.resources) for name, c in zip("ab", both, strict=True)]
    two = lab.pod("two", *named)
    each, apart, _, _ = alignment(SINGLE)
    assert each.admit(two) is None and [apart.of("uid-two", n) for n in "ab"] == ["1-2", "4-5"]
    whole, cpus, _, _ = alignment(SINGLE, scope="pod")
    assert whole.admit(two) is None and [cpus.of("uid-two", n) for n in "ab"] == ["4-5", "6-7"]


def test_more_nodes_than_can_be_looked_at_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="more than 8 NUMA Nodes"):
        Alignment(machine(9), TopologyPolicy(name=RESTRICTED), ())
