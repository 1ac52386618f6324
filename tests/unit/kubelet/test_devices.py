"""Which container gets which device: decided by values, and remembered over restarts."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.devices.inventory import Inventory

GPU = "example.com/gpu"


def using(name: str, count: int, **given: Any) -> Container:
    return Container(name=name, resources=ResourceRequirements(limits={GPU: Quantity(str(count))}), **given)


def inventory(count: int, path: str = "") -> Inventory:
    made = Inventory(path)
    made.offered(GPU, {f"g{number}": "Healthy" for number in range(count)})
    return made


def pod(lab: Any, name: str, *containers: Container, **spec: Any) -> Pod:
    found: Pod = lab.pod(name, *containers, **spec)
    return found


def test_a_pod_gets_all_it_asks_for_or_nothing(lab: Any) -> None:
    made = inventory(3)
    assert made.admit(pod(lab, "a", using("c", 2))) is None
    refused = made.admit(pod(lab, "b", using("c", 1), using("d", 1)))
    assert refused is not None and refused.reason == "UnexpectedAdmissionError"
    assert refused.message == (
        "Allocate failed due to requested number of devices unavailable for example.com/gpu. "
        "Requested: 1, Available: 0, which is unexpected"
    )
    assert made.of("uid-b", "c") == {}
    assert made.admit(pod(lab, "e", using("c", 1))) is None and made.of("uid-e", "c") == {GPU: ["g2"]}
    made.release("uid-a")
    assert made.admit(pod(lab, "b", using("c", 1), using("d", 1))) is None


def test_an_init_container_leaves_its_devices_to_those_after_it_and_a_sidecar_keeps_them(lab: Any) -> None:
    made = inventory(3)
    init = (using("first", 2), using("side", 1, restart_policy="Always"))
    assert made.admit(pod(lab, "a", using("main", 2), init_containers=init)) is None
    assert made.of("uid-a", "first") == {GPU: ["g0", "g1"]}
    side, main = made.of("uid-a", "side")[GPU], made.of("uid-a", "main")[GPU]
    assert len(side) == 1 and len(main) == 2 and not {*side} & {*main}


@pytest.mark.parametrize("health", ["Unhealthy", None])
def test_what_is_ill_or_gone_is_given_to_nobody_and_its_owner_is_told(lab: Any, health: str | None) -> None:
    made = inventory(2)
    assert made.admit(pod(lab, "a", using("c", 1))) is None
    left = {"g0": health, "g1": "Healthy"} if health else {"g1": "Healthy"}
    made.offered(GPU, {key: text for key, text in left.items() if text})
    assert made.amounts() == {GPU: (len(left), 1)}
    (status,) = made.statuses("uid-a", "c") or ()
    assert [(h.resource_id, h.health) for h in status.resources or ()] == [("g0", health or "Unknown")]
    made.gone(GPU)
    assert made.amounts() == {GPU: (0, 0)}


def test_what_was_given_out_is_known_after_a_restart(lab: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "plugins/devices.json")
    assert inventory(2, path).admit(pod(lab, "a", using("c", 2))) is None
    again = inventory(2, path)
    assert again.of("uid-a", "c") == {GPU: ["g0", "g1"]}
    assert again.admit(pod(lab, "b", using("c", 1))) is not None
    again.keep_only(())
    assert again.admit(pod(lab, "b", using("c", 1))) is None


def test_a_resource_that_no_plugin_ever_offered_is_somebody_elses(lab: Any) -> None:
    other = Container(name="c", resources=ResourceRequirements(limits={"example.com/fake": Quantity("5")}))
    assert inventory(0).admit(pod(lab, "a", other)) is None
