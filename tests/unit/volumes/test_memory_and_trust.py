"""Volumes in memory, and trust bundles: how large the one, and which certificates are in the other."""

from typing import Any

import pytest

from kybern.api.core_v1 import Container, EmptyDirVolumeSource, Pod, PodSpec, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.volumes.downward import Facts
from kybern.volumes.payload import VolumeFault, certificates
from kybern.volumes.pod_volumes import memory_size, page_size

MI = 1 << 20
NODE = Facts(allocatable={"memory": Quantity("4Gi")})


def pod(*limits: dict[str, str], whole: dict[str, str] | None = None) -> Pod:
    def resources(given: dict[str, str]) -> ResourceRequirements:
        found = {name: Quantity(text) for name, text in given.items()}
        return ResourceRequirements(limits=found, requests=found)

    containers = tuple(Container(name=f"c{n}", resources=resources(given)) for n, given in enumerate(limits))
    return Pod(spec=PodSpec(containers=containers, resources=resources(whole) if whole else None))


@pytest.mark.parametrize(
    ("limit", "given", "size"),
    [
        (None, pod({}), 4096 * MI),
        ("64Mi", pod({}), 64 * MI),
        ("64Mi", pod({"memory": "16Mi"}, {"memory": "16Mi"}), 32 * MI),
        (None, pod({"memory": "16Mi"}, {}), 4096 * MI),
        (None, pod({"memory": "16Mi"}, {}, whole={"memory": "100Mi"}), 100 * MI),
    ],
)
def test_a_volume_in_memory_never_outgrows_its_pod(limit: str | None, given: Pod, size: int) -> None:
    source = EmptyDirVolumeSource(medium="Memory", size_limit=Quantity(limit) if limit else None)
    assert memory_size(given, source, NODE) == size


def test_huge_pages_are_of_the_size_that_the_pod_asks_for() -> None:
    both = pod({"hugepages-2Mi": "4Mi"}, {"hugepages-1Gi": "1Gi"})
    assert page_size(both, "HugePages-1Gi") == 1 << 30
    assert page_size(pod({"hugepages-2Mi": "4Mi"}), "HugePages") == 2 * MI
    for wrong, medium in ((both, "HugePages"), (pod({}), "HugePages-2Mi")):
        with pytest.raises(VolumeFault):
            page_size(wrong, medium)


def test_each_certificate_of_the_bundles_is_there_once_and_nothing_else() -> None:
    def block(body: str, **_: Any) -> str:
        return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"

    one, two = "B" * 100, "A" * 10
    wrapped = block("\n".join((one[:50], one[50:])))
    assert certificates([f"# comment\n{wrapped}", block(two) + block(one)]) == block(two) + block(
        f"{one[:64]}\n{one[64:]}"
    )
    assert certificates([]) == ""
