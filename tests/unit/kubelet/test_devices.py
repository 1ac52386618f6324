"""Which container gets which device: decided by values, and remembered over restarts."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.devices.inventory import Device, Inventory
from kybern.kubelet.status import Verdict
from kybern.kubelet.topology.alignment import Alignment, TopologyPolicy
from kybern.kubelet.topology.hints import Hint
from kybern.kubelet.topology.machine import Machine

GPU = "example.com/gpu"


def using(name: str, count: int, **given: Any) -> Container:
    return Container(name=name, resources=ResourceRequirements(limits={GPU: Quantity(str(count))}), **given)


def inventory(count: int, path: str = "") -> Inventory:
    made = Inventory(path)
    made.offered(GPU, {f"g{number}": Device() for number in range(count)})
    return made


def admit(made: Inventory, pod: Pod) -> Verdict | None:
    return Alignment(Machine(), TopologyPolicy(), (made,)).admit(pod)


def pod(lab: Any, name: str, *containers: Container, **spec: Any) -> Pod:
    found: Pod = lab.pod(name, *containers, **spec)
    return found


def test_a_pod_gets_all_it_asks_for_or_nothing(lab: Any) -> None:
    made = inventory(3)
    assert admit(made, pod(lab, "a", using("c", 2))) is None
    refused = admit(made, pod(lab, "b", using("c", 1), using("d", 1)))
    assert refused is not None and refused.reason == "UnexpectedAdmissionError"
    assert refused.message == (
        "Allocate failed due to requested number of devices unavailable for example.com/gpu. "
        "Requested: 1, Available: 0, which is unexpected"
    )
    assert made.of("uid-b", "c") == {}
    assert admit(made, pod(lab, "e", using("c", 1))) is None and made.of("uid-e", "c") == {GPU: ["g2"]}
    made.release("uid-a")
    assert admit(made, pod(lab, "b", using("c", 1), using("d", 1))) is None


def test_an_init_container_leaves_its_devices_to_those_after_it_and_a_sidecar_keeps_them(lab: Any) -> None:
    made = inventory(3)
    init = (using("first", 2), using("side", 1, restart_policy="Always"))
    assert admit(made, pod(lab, "a", using("main", 2), init_containers=init)) is None
    assert made.of("uid-a", "first") == {GPU: ["g0", "g1"]}
    side, main = made.of("uid-a", "side")[GPU], made.of("uid-a", "main")[GPU]
    assert len(side) == 1 and len(main) == 2 and not {*side} & {*main}


@pytest.mark.parametrize("health", ["Unhealthy", None])
def test_what_is_ill_or_gone_is_given_to_nobody_and_its_owner_is_told(lab: Any, health: str | None) -> None:
    made = inventory(2)
    assert admit(made, pod(lab, "a", using("c", 1))) is None
    left = {"g0": health, "g1": "Healthy"} if health else {"g1": "Healthy"}
    made.offered(GPU, {key: Device(text) for key, text in left.items()})
    assert made.amounts() == {GPU: (len(left), 1)}
    (status,) = made.statuses("uid-a", "c") or ()
    assert [(h.resource_id, h.health) for h in status.resources or ()] == [("g0", health or "Unknown")]
    made.gone(GPU)
    assert made.amounts() == {GPU: (0, 0)}


def test_devices_near_the_hint_come_first_and_those_their_plugin_prefers_among_them(lab: Any) -> None:
    made = Inventory("")
    made.numa_nodes = (0, 1)
    made.offered(GPU, {f"g{number}": Device(nodes=(number // 4,)) for number in range(8)})
    one = pod(lab, "a", using("c", 2))
    assert made.hints(one, one.spec.containers) == {
        GPU: [
            Hint(frozenset({0}), preferred=True),
            Hint(frozenset({1}), preferred=True),
            Hint(frozenset({0, 1}), preferred=False),
        ]
    }
    assert made.allocate(one, one.spec.containers[0], Hint(frozenset({1}))) is None
    assert made.of("uid-a", "c") == {GPU: ["g4", "g5"]}
    two = pod(lab, "b", using("c", 2))
    assert made.allocate(two, two.spec.containers[0], Hint(frozenset({0}))) is None
    offered = made.choice("uid-a", "c", GPU)
    assert offered is not None and offered.near == ("g4", "g5", "g6", "g7") and offered.far == ("g2", "g3")
    assert made.settle("uid-a", "c", GPU, ["g2", "g7", "g6"]) == ["g7", "g6"], "what lies far is not preferred"
    assert made.choice("uid-a", "c", GPU) is None, "once handed over, they stay"
    assert made.settle("uid-a", "c", GPU, ["g4", "g5"]) == ["g7", "g6"] == made.of("uid-a", "c")[GPU]


def test_what_was_given_out_is_known_after_a_restart(lab: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "plugins/devices.json")
    assert admit(inventory(2, path), pod(lab, "a", using("c", 2))) is None
    again = inventory(2, path)
    assert again.of("uid-a", "c") == {GPU: ["g0", "g1"]}
    assert admit(again, pod(lab, "b", using("c", 1))) is not None
    again.keep_only(())
    assert admit(again, pod(lab, "b", using("c", 1))) is None


def test_a_resource_that_no_plugin_ever_offered_is_somebody_elses(lab: Any) -> None:
    other = Container(name="c", resources=ResourceRequirements(limits={"example.com/fake": Quantity("5")}))
    assert admit(inventory(0), pod(lab, "a", other)) is None
