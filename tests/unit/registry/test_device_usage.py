from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.api.resource_v1 import DeviceClass, ResourceClaim
from kybern.registry.device_usage import Known, device_usage
from kybern.testing.memory_objects import MemoryObjects

GPU = from_builtins(DeviceClass, {"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}})
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}


def claim(name: str, count: int = 1, *, of_pod: bool = False, created: str = "2026-01-01T00:00:00Z") -> ResourceClaim:
    meta: dict[str, Any] = {"name": name, "namespace": "x", "uid": name, "creationTimestamp": created}
    if of_pod:
        annotations = {"resource.kubernetes.io/extended-resource-claim": "true"}
        meta |= {"annotations": annotations, "ownerReferences": [OWNER]}
    request = {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}}
    return from_builtins(ResourceClaim, {"metadata": meta, "spec": {"devices": {"requests": [request]}}})


def pod(claimed: str = "", uid: str = "u") -> Pod:
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"example.com/gpu": "2"}}}]
    status = {"extendedResourceClaimStatus": {"resourceClaimName": claimed, "requestMappings": []}} if claimed else {}
    meta = {"name": "p", "namespace": "x", "uid": uid}
    return from_builtins(Pod, {"metadata": meta, "spec": {"containers": containers}, "status": status})


def paid_in_gpus(asked: ResourceClaim, *others: Any) -> int:
    return int(device_usage(asked, Known(MemoryObjects(GPU, *others)))["requests.example.com/gpu"])


def test_a_claim_costs_its_devices_by_class_and_by_every_name_of_an_extended_resource() -> None:
    assert device_usage(claim("a", 3), Known(MemoryObjects(GPU))) == {
        "gpu.deviceclass.resource.k8s.io/devices": "3",
        "requests.deviceclass.resource.kubernetes.io/gpu": "3",
        "requests.example.com/gpu": "3",
    }


def test_a_class_that_nobody_knows_has_no_other_name() -> None:
    assert "requests.example.com/gpu" not in device_usage(claim("a"), Known(MemoryObjects()))


def test_what_a_pod_asks_for_is_paid_for_by_the_pod() -> None:
    assert paid_in_gpus(claim("a", 2, of_pod=True), pod()) == 0
    assert paid_in_gpus(claim("a", 2, of_pod=True), pod("a")) == 0


def test_more_than_the_pod_asks_for_is_not() -> None:
    assert paid_in_gpus(claim("a", 5, of_pod=True), pod()) == 3


def test_of_several_claims_that_say_they_are_for_a_pod_it_pays_for_one() -> None:
    first, second = claim("a", of_pod=True), claim("b", of_pod=True, created="2026-01-01T00:00:01Z")
    assert (paid_in_gpus(first, pod(), first), paid_in_gpus(second, pod(), first)) == (0, 1)
    assert (paid_in_gpus(first, pod("b"), first, second), paid_in_gpus(second, pod("b"), first, second)) == (1, 0)


def test_a_pod_that_is_gone_pays_for_nothing() -> None:
    assert paid_in_gpus(claim("a", of_pod=True)) == 1
    assert paid_in_gpus(claim("a", of_pod=True), pod(uid="another")) == 1


def test_of_many_claims_that_say_they_are_for_pods_nobody_is_compared_with_all() -> None:
    claims = [claim(f"c{number}", of_pod=True, created=f"2026-01-01T00:00:{59 - number}Z") for number in range(50)]
    objects, lists = MemoryObjects(GPU, pod(), *claims), []

    class Listed:
        get = objects.get

        def list(self, of: Any, namespace: str | None = None) -> Any:
            lists.append(of)
            return objects.list(of, namespace)

    known = Known(Listed())
    costs = [device_usage(one, known)["requests.example.com/gpu"] for one in claims]
    assert costs == ["1"] * 49 + ["0"]
    assert lists == [ResourceClaim]
