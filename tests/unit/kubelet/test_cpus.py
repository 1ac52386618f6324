"""CPUs of one's own: which are taken, who gets them, and where everybody else runs."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import configured, seconds
from kybern.kubelet.cpus import Cpu, Cpus, cpus_text, parse_cpus, take
from kybern.kubelet.eviction.thresholds import MEMORY, NODE_DISK

# Two sockets of two cores of two threads: the threads of core 0 are 0 and 4.
MACHINE = tuple(Cpu(number, number % 4, number % 4 // 2) for number in range(8))


@pytest.mark.parametrize(
    ("free", "count", "taken"),
    [
        (MACHINE, 4, [0, 1, 4, 5]),
        (MACHINE, 2, [0, 4]),
        (MACHINE, 3, [0, 1, 4]),
        (MACHINE, 5, [0, 1, 2, 4, 5]),
        (MACHINE[1:], 1, [4]),
        (MACHINE[1:], 2, [1, 5]),
        (MACHINE[1:], 4, [2, 3, 6, 7]),
    ],
)
def test_what_belongs_together_is_taken_together(free: tuple[Cpu, ...], count: int, taken: list[int]) -> None:
    assert take(free, MACHINE, count) == taken


def test_numbers_are_written_as_the_kernel_writes_them() -> None:
    for text in ("0", "0-3", "0-1,4,6-7", ""):
        assert cpus_text(parse_cpus(text)) == text


def guaranteed(lab: Any, name: str, cpu: str) -> Pod:
    found = {"cpu": Quantity(cpu), "memory": Quantity("1Gi")}
    pod: Pod = lab.pod(name, Container(name="c", resources=ResourceRequirements(requests=found, limits=found)))
    return pod


def test_whole_cpus_of_guaranteed_pods_are_theirs_and_the_others_share_the_rest(lab: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "cpus.json")
    cpus = Cpus(path, MACHINE, static=True, reserved=1)
    for pod in (guaranteed(lab, "a", "2"), guaranteed(lab, "part", "1500m"), lab.pod("b")):
        assert cpus.admit(pod) is None
    assert cpus.of("uid-a", "c") == "1,5"
    assert cpus.of("uid-part", "c") == cpus.of("uid-b", "web") == "0,2-4,6-7"
    refused = cpus.admit(guaranteed(lab, "large", "6"))
    assert refused is not None and refused.message == (
        "Allocate failed due to not enough cpus available to satisfy request: "
        "requested=6, available=5, which is unexpected"
    )
    again = Cpus(path, MACHINE, static=True, reserved=1)
    assert again.of("uid-a", "c") == "1,5"
    again.keep_only(())
    assert again.of("uid-b", "web") == "0-7"


def test_without_the_policy_nobody_has_any(lab: Any) -> None:
    cpus = Cpus("", MACHINE, static=False)
    assert cpus.admit(guaranteed(lab, "a", "2")) is None and cpus.of("uid-a", "c") == ""


HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


def test_a_configuration_file_sets_what_upstream_calls_so() -> None:
    text = """
maxPods: 50
cpuManagerPolicy: static
systemReserved: {cpu: 500m, memory: 1Gi}
kubeReserved: {cpu: 500m}
allowedUnsafeSysctls: ["kernel.msg*"]
evictionHard: {memory.available: 200Mi, nodefs.available: 0%}
evictionSoft: {memory.available: 1Gi}
evictionSoftGracePeriod: {memory.available: 1m30s}
"""
    found = configured(KubeletConfig(node_name="n"), HEAD + text)
    assert (found.pods_max, found.cpu_policy, found.unsafe_sysctls) == (50, "static", ("kernel.msg*",))
    assert found.reserved == {"cpu": "1", "memory": "1Gi"}
    assert [(t.signal, t.amount, t.grace_seconds) for t in found.eviction] == [
        (MEMORY, "200Mi", 0.0),
        (MEMORY, "1Gi", 90.0),
    ]
    assert NODE_DISK not in {threshold.signal for threshold in found.eviction}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod", "not a KubeletConfiguration"),
        (HEAD + "maxPodz: 3", "unknown field 'maxPodz'"),
        (HEAD + "maxPods: many", "maxPods: must be a whole number"),
        (HEAD + "cpuManagerPolicy: mine", "cpuManagerPolicy: unknown policy 'mine'"),
        (HEAD + "evictionHard: {memory: 1Gi}", "evictionHard: unknown eviction signal memory"),
        (HEAD + "evictionHard: {memory.available: lots}", "evictionHard: quantities must match"),
        (HEAD + "maxPods: 3\nmaxPods: 4", "maxPods"),
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
