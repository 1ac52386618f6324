"""CPUs of one's own: which are taken, who gets them, and where everybody else runs."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.codec import encode
from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import FIELDS, configured
from kybern.kubelet.configz import told
from kybern.kubelet.eviction.thresholds import MEMORY, NODE_DISK
from kybern.kubelet.settings import seconds
from kybern.kubelet.topology.alignment import TopologyPolicy
from kybern.kubelet.topology.cpus import CpuPolicy, Cpus
from kybern.kubelet.topology.hints import ANYWHERE, Hint
from kybern.kubelet.topology.machine import Cpu, Machine, NumaNode, cpus_text, parse_cpus
from kybern.kubelet.topology.memory import MemoryPolicy
from kybern.kubelet.topology.picking import distributed, packed

# Two sockets, each a NUMA node, of two cores of two threads: the threads of core 0 are 0 and 4.
ALL = tuple(range(8))
NODES = tuple(NumaNode(number) for number in range(2))
MACHINE = Machine(tuple(Cpu(n, n % 4, n % 4 // 2, n % 4 // 2) for n in ALL), NODES)


@pytest.mark.parametrize(
    ("free", "count", "taken"),
    [
        (ALL, 4, [0, 1, 4, 5]),
        (ALL, 2, [0, 4]),
        (ALL, 3, [0, 1, 4]),
        (ALL, 5, [0, 1, 2, 4, 5]),
        (ALL, 8, [*ALL]),
        (ALL[1:], 1, [4]),
        (ALL[1:], 2, [1, 5]),
        (ALL[1:], 4, [2, 3, 6, 7]),
        ((0, 1, 4, 5, 6), 1, [6]),
    ],
)
def test_what_belongs_together_is_taken_together(free: tuple[int, ...], count: int, taken: list[int]) -> None:
    assert packed(MACHINE, free, count) == taken


@pytest.mark.parametrize(
    ("free", "count", "group", "taken"),
    [
        (ALL, 4, 1, [0, 1, 4, 5]),  # one node has enough
        (ALL, 6, 1, [0, 1, 2, 3, 4, 6]),
        (ALL, 6, 2, [0, 1, 2, 4, 5, 6]),  # whole cores: four and two
        (ALL[1:], 6, 1, [1, 2, 3, 4, 5, 6]),
        ((0, 2, 3, 6, 7), 5, 1, [0, 2, 3, 6, 7]),  # not to be distributed: packed
    ],
)
def test_cpus_of_several_nodes_are_shared_out_evenly(
    free: tuple[int, ...], count: int, group: int, taken: list[int]
) -> None:
    assert distributed(MACHINE, free, count, group=group) == taken


def test_what_shares_a_cache_is_taken_before_what_only_shares_a_core() -> None:
    """Eight cores in two caches; of the first cache one is taken."""
    machine = Machine(tuple(Cpu(n, n, 0, 0, n // 4 * 4) for n in range(8)), (NumaNode(0),))
    assert packed(machine, range(1, 8), 4, by_cache=True) == [4, 5, 6, 7]
    assert packed(machine, range(1, 8), 4) == [1, 2, 3, 4]


def test_numbers_are_written_as_the_kernel_writes_them() -> None:
    for text in ("0", "0-3", "0-1,4,6-7", ""):
        assert cpus_text(parse_cpus(text)) == text


def guaranteed(lab: Any, name: str, cpu: str) -> Pod:
    found = {"cpu": Quantity(cpu), "memory": Quantity("1Gi")}
    pod: Pod = lab.pod(name, Container(name="c", resources=ResourceRequirements(requests=found, limits=found)))
    return pod


def cpus_with(path: str = "", **policy: Any) -> Cpus:
    return Cpus(path, MACHINE, CpuPolicy(static=True, **policy))


def admit(cpus: Cpus, pod: Pod, hint: Hint = ANYWHERE) -> str:
    """What it was refused with; nothing where it was not."""
    for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        if refusal := cpus.allocate(pod, container, hint):
            return f"{refusal.reason}: {refusal.message}"
    return ""


def test_whole_cpus_of_guaranteed_pods_are_theirs_and_the_others_share_the_rest(lab: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "cpus.json")
    cpus = cpus_with(path, reserved=1)
    for pod in (guaranteed(lab, "a", "2"), guaranteed(lab, "part", "1500m"), lab.pod("b")):
        assert admit(cpus, pod) == ""
    assert cpus.of("uid-a", "c") == "1,5"
    assert cpus.of("uid-part", "c") == cpus.of("uid-b", "web") == "0,2-4,6-7"
    assert admit(cpus, guaranteed(lab, "large", "6")) == (
        "UnexpectedAdmissionError: Allocate failed due to not enough cpus available to satisfy request: "
        "requested=6, available=5, which is unexpected"
    )
    again = cpus_with(path, reserved=1)
    assert again.of("uid-a", "c") == "1,5"
    again.keep_only(())
    assert again.of("uid-b", "web") == "0-7"


def test_without_the_policy_nobody_has_any(lab: Any) -> None:
    cpus = Cpus("", MACHINE, CpuPolicy())
    assert admit(cpus, guaranteed(lab, "a", "2")) == "" and cpus.of("uid-a", "c") == ""


def test_an_init_container_leaves_its_cpus_to_those_after_it_and_a_sidecar_does_not(lab: Any) -> None:
    found = {"cpu": Quantity("2"), "memory": Quantity("1Gi")}
    wants = ResourceRequirements(requests=found, limits=found)
    init = (Container(name="first", resources=wants), Container(name="side", resources=wants, restart_policy="Always"))
    pod = lab.pod("a", Container(name="main", resources=wants), init_containers=init)
    cpus = cpus_with(reserved=1)
    assert admit(cpus, pod) == ""
    assert [cpus.of("uid-a", name) for name in ("first", "side", "main")] == ["1,5", "1,5", "2,6"]


def test_full_cores_only_refuses_half_a_core_and_cores_that_are_broken_into(lab: Any) -> None:
    cpus = cpus_with(reserved=1, full_cores=True)
    assert admit(cpus, guaranteed(lab, "half", "3")) == (
        "SMTAlignmentError: SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2"
    )
    assert admit(cpus, guaranteed(lab, "fits", "4")) == ""
    assert admit(cpus, guaranteed(lab, "late", "4")) == (
        "SMTAlignmentError: SMT Alignment Error: not enough free physical CPUs: "
        "available physical CPUs = 2, requested CPUs = 4, CPUs per core = 2"
    )


def test_strictly_reserved_cpus_are_not_even_shared(lab: Any) -> None:
    named = cpus_with(reserved_cpus=frozenset({0, 4}), strict=True)
    assert named.of("uid-b", "web") == "1-3,5-7" and named.allocatable() == {1, 2, 3, 5, 6, 7}


def test_a_hint_is_followed_as_far_as_it_goes(lab: Any) -> None:
    cpus = cpus_with(reserved=1)
    pod = guaranteed(lab, "a", "5")
    assert cpus.hints(pod, pod.spec.containers) == {"cpu": [Hint(frozenset({0, 1}), preferred=True)]}
    assert admit(cpus, pod, Hint(frozenset({1}))) == "" and cpus.of("uid-a", "c") == "2-4,6-7"


HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


def test_a_configuration_file_sets_what_upstream_calls_so() -> None:
    text = """
maxPods: 50
cpuManagerPolicy: static
cpuManagerPolicyOptions: {full-pcpus-only: "true"}
memoryManagerPolicy: Static
reservedMemory: [{numaNode: 0, limits: {memory: 1124Mi}}]
topologyManagerPolicy: restricted
topologyManagerScope: pod
topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "true"}
systemReserved: {cpu: 500m, memory: 1Gi}
kubeReserved: {cpu: 500m}
allowedUnsafeSysctls: ["kernel.msg*"]
evictionHard: {memory.available: 200Mi, nodefs.available: 0%}
evictionSoft: {memory.available: 1Gi}
evictionSoftGracePeriod: {memory.available: 1m30s}
evictionMinimumReclaim: {memory.available: 100Mi, imagefs.available: 5%}
crashLoopBackOff: {maxContainerRestartPeriod: 20s}
"""
    found = configured(KubeletConfig(node_name="n"), HEAD + text)
    assert (found.pods_max, found.unsafe_sysctls) == (50, ("kernel.msg*",))
    assert found.cpus == CpuPolicy(static=True, full_cores=True)
    assert found.memory == MemoryPolicy(static=True, reserved={0: {"memory": 1124 << 20}})
    assert found.topology == TopologyPolicy(name="restricted", scope="pod", closest=True)
    assert found.reserved == {"cpu": "1", "memory": "1Gi"}
    assert [(t.signal, t.amount, t.grace_seconds, t.reclaim) for t in found.eviction] == [
        (MEMORY, "200Mi", 0.0, "100Mi"),
        (MEMORY, "1Gi", 90.0, "100Mi"),
    ]
    assert NODE_DISK not in {threshold.signal for threshold in found.eviction}
    assert found.crash_seconds_max == 20.0


def test_what_a_kubelet_tells_of_its_configuration_configures_another_one_likewise() -> None:
    text = """
podPidsLimit: 100
cpuManagerPolicy: static
cpuManagerPolicyOptions: {full-pcpus-only: "true"}
memoryManagerPolicy: Static
reservedMemory: [{numaNode: 0, limits: {memory: 1124Mi}}]
topologyManagerPolicy: restricted
topologyManagerScope: pod
topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "true", max-allowable-numa-nodes: "12"}
systemReserved: {cpu: 500m, memory: 1Gi}
kubeReserved: {cpu: 500m}
reservedSystemCPUs: 0-1
evictionHard: {memory.available: 200Mi}
evictionSoft: {memory.available: 1Gi}
evictionSoftGracePeriod: {memory.available: 1m30s}
evictionMaxPodGracePeriod: 7
evictionMinimumReclaim: {memory.available: 5%}
enableSystemLogHandler: false
imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages
preloadedImagesVerificationAllowlist: [reg.example/team/*]
containerLogMaxSize: 20Mi
featureGates: {MemoryQoS: true}
memoryReservationPolicy: TieredReservation
shutdownGracePeriod: 30s
shutdownGracePeriodCriticalPods: 10s
"""
    here = configured(KubeletConfig(node_name="n"), HEAD + text)
    kind = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
    said = kind | {name: value for name, value in told(here).items() if name in FIELDS}
    assert configured(KubeletConfig(node_name="n"), encode(said).decode()) == here


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod", "not a KubeletConfiguration"),
        (HEAD + "maxPodz: 3", "unknown field 'maxPodz'"),
        (HEAD + "maxPods: many", "maxPods: must be a whole number"),
        (HEAD + "cpuManagerPolicy: mine", "cpuManagerPolicy: unknown policy 'mine'"),
        (HEAD + "cpuManagerPolicyOptions: {align-by-socket: 'true'}", "Alpha-level Options not enabled"),
        (HEAD + "cpuManagerPolicyOptions: {full-pcpus-only: maybe}", "bad value for option"),
        (HEAD + "topologyManagerPolicyOptions: {max-allowable-numa-nodes: '4'}", "minimum value"),
        (HEAD + "topologyManagerScope: node", "unknown scope: 'node'"),
        (HEAD + "reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]", "is no memory"),
        (HEAD + "evictionHard: {memory: 1Gi}", "evictionHard: unknown eviction signal memory"),
        (HEAD + "evictionHard: {memory.available: lots}", "evictionHard: quantities must match"),
        (HEAD + "imagePullCredentialsVerificationPolicy: Often", "unknown option 'Often'"),
        (HEAD + "evictionMinimumReclaim: {memory: 1Gi}", "evictionMinimumReclaim: unknown eviction signal memory"),
        (HEAD + "evictionMinimumReclaim: {memory.available: 101%}", "'101%' is no share"),
        (HEAD + "maxPods: 3\nmaxPods: 4", "maxPods"),
        (HEAD + "crashLoopBackOff: {maxContainerRestartPeriod: 6m}", "must be between 1s and 5m0s"),
        (HEAD + "crashLoopBackOff: {period: 1s}", "crashLoopBackOff: unknown field 'period'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_the_name_of_its_field(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configured(KubeletConfig(node_name="n"), text)


def test_durations_are_gos() -> None:
    assert [seconds(text) for text in ("90s", "1m30s", "1.5h", "500ms")] == [90.0, 90.0, 5400.0, 0.5]
    for wrong in ("5", "s", "1x"):
        with pytest.raises(ValueError, match=r"duration|unit"):
            seconds(wrong)
