"""cgroup v2's files beyond the limit, for machines that are not here: what is kept, slowed down and swapped."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import configured
from kybern.kubelet.memory_protection import MemoryProtection, NodeMemory, of_container, of_levels, of_pod
from kybern.kubelet.qos_cgroups import qos_limits
from kybern.linux.cgroups import Limits
from kybern.linux.cgroups_v2 import V2, values

GI, MI = 1 << 30, 1 << 20
NODE = NodeMemory(unified=True, total_bytes=16 * GI, allocatable_bytes=10 * GI, swap_bytes=4 * GI)
ALL = MemoryProtection(throttles=True, tiered=True, swaps=True)
ENDS_WHOLE = {"memory.oom.group": "1"}


def pod(lab: Any, asked: str = "", limit: str = "", cpu: str = "", name: str = "web", **spec: Any) -> Pod:
    requests = {key: Quantity(text) for key, text in (("memory", asked), ("cpu", cpu)) if text}
    limits = {key: Quantity(text) for key, text in (("memory", limit), ("cpu", cpu)) if text}
    resources = ResourceRequirements(requests=requests or None, limits=limits or None)
    made: Pod = lab.pod(name, Container(name="c", resources=resources), **spec)
    return made


@pytest.mark.parametrize(
    ("asked", "limit", "cpu", "files"),
    [
        ("1Gi", "1Gi", "1", {"memory.min": str(GI), "memory.swap.max": "0"}),  # Guaranteed
        ("1Gi", "2Gi", "", {"memory.low": str(GI), "memory.high": "2040107008", "memory.swap.max": str(GI // 4)}),
        ("1Gi", "", "", {"memory.low": str(GI), "memory.high": "9771048960", "memory.swap.max": str(GI // 4)}),
        ("", "", "", {"memory.high": "9663676416", "memory.swap.max": "0"}),  # BestEffort
    ],
)
def test_a_container_is_protected_by_its_quality_of_service(
    lab: Any, asked: str, limit: str, cpu: str, files: dict[str, str]
) -> None:
    made = pod(lab, asked, limit, cpu)
    assert of_container(ALL, NODE, made, made.spec.containers[0]) == {**files, **ENDS_WHOLE}


def test_by_default_nothing_is_kept_or_slowed_and_nothing_swaps(lab: Any) -> None:
    made = pod(lab, "1Gi", "2Gi")
    container = made.spec.containers[0]
    assert of_container(MemoryProtection(), NODE, made, container) == {"memory.swap.max": "0", **ENDS_WHOLE}
    without = NodeMemory(unified=True, total_bytes=GI, allocatable_bytes=GI)
    assert of_container(MemoryProtection(), without, made, container) == ENDS_WHOLE, "there is nothing to swap to"
    assert of_container(MemoryProtection(kills_one=True), without, made, container) == {}
    v1 = NodeMemory(total_bytes=GI, allocatable_bytes=GI, swap_bytes=GI)
    assert of_container(ALL, v1, made, container) == {} == of_pod(ALL, v1, made)


def test_critical_pods_do_not_swap(lab: Any) -> None:
    made = pod(lab, "1Gi", "2Gi", priority=2_000_000_000)
    assert of_container(ALL, NODE, made, made.spec.containers[0])["memory.swap.max"] == "0"


def test_what_is_kept_for_a_pod_is_kept_all_the_way_up(lab: Any) -> None:
    pods = [pod(lab, "1Gi", "1Gi", "1"), pod(lab, "512Mi", "1Gi"), pod(lab)]
    kept = of_levels(ALL, NODE, pods)
    assert kept == ({"memory.min": str(GI), "memory.low": str(512 * MI)}, {"memory.low": str(512 * MI)})
    assert of_pod(ALL, NODE, pods[1]) == {"memory.low": str(512 * MI)}
    limits = qos_limits(pods, "/pods", {"cpu": "4"}, 0, kept)
    assert limits["/pods"].unified == kept[0] and limits["/pods/burstable"].unified == kept[1]
    assert limits["/pods/besteffort"].unified == {}


def test_the_files_are_written_beside_the_limits(tmp_path: Path) -> None:
    limits = Limits(memory_limit_bytes=GI, unified={"memory.high": "1024", "memory.swap.max": "0"})
    assert values(limits) == {"memory.max": str(GI), "memory.high": "1024", "memory.swap.max": "0"}
    group = tmp_path / "pods"
    group.mkdir()
    V2(str(tmp_path)).limit("/pods", limits)
    assert {file.name: file.read_text() for file in group.iterdir()} == values(limits)


HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


def test_all_of_it_is_set_in_the_kubelets_configuration() -> None:
    text = """
memoryReservationPolicy: TieredReservation
memoryThrottlingFactor: 0.8
memorySwap: {swapBehavior: LimitedSwap}
featureGates: {MemoryQoS: true}
singleProcessOOMKill: true
"""
    found = configured(KubeletConfig(node_name="n"), HEAD + text).protection
    assert found == MemoryProtection(throttles=True, throttling_factor=0.8, tiered=True, swaps=True, kills_one=True)
    for wrong, said in (
        ("memoryReservationPolicy: TieredReservation", "requires the feature gate MemoryQoS"),
        ("memoryThrottlingFactor: 2", "not greater than 1"),
        ("memorySwap: {swapBehavior: UnlimitedSwap}", "unknown policy 'UnlimitedSwap'"),
        ("featureGates: {Unheard: true}", "unrecognized feature gate: Unheard"),
    ):
        with pytest.raises(ValueError, match=said):
            configured(KubeletConfig(node_name="n"), HEAD + wrong)
