"""The claim for a pod's extended resources on its node: each container gets the devices of the requests that are its own."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.api.resource_v1 import ResourceClaim
from kybern.kubelet.devices.claims import Claims

DRIVER = "gpu.example.com"


class Objects:
    def __init__(self, claim: ResourceClaim) -> None:
        self.claim = claim

    async def get(self, of: type[Any], namespace: str, name: str) -> Any:
        return self.claim if name == self.claim.metadata.name else None


async def answer(verb: str, driver: str, claims: Sequence[dict[str, Any]]) -> Mapping[str, dict[str, Any]]:
    given = [(["container-0-request-0"], [f"{DRIVER}/gpu=0"], "n1", "g0"),
             (["container-1-request-0"], [f"{DRIVER}/gpu=1"], "n1", "g1")]  # fmt: skip
    return {claim["uid"]: {"error": "", "devices": given} for claim in claims}


def test_each_container_gets_the_devices_of_its_own_requests(tmp_path: Path) -> None:
    result = {"driver": DRIVER, "pool": "n1", "device": "g0", "request": "container-0-request-0"}
    claim = from_builtins(
        ResourceClaim,
        {
            "metadata": {"name": "p-extended-resources-x", "namespace": "a", "uid": "u"},
            "spec": {"devices": {"requests": []}},
            "status": {
                "allocation": {"devices": {"results": [result]}},
                "reservedFor": [{"resource": "pods", "name": "p", "uid": "p"}],
            },
        },
    )
    mappings = [
        {"containerName": f"c{n}", "resourceName": "example.com/gpu", "requestName": f"container-{n}-request-0"}
        for n in range(2)
    ]
    pod = from_builtins(
        Pod,
        {
            "metadata": {"name": "p", "namespace": "a", "uid": "p"},
            "spec": {"containers": [{"name": f"c{n}", "image": "i"} for n in range(3)]},
            "status": {
                "extendedResourceClaimStatus": {
                    "resourceClaimName": "p-extended-resources-x",
                    "requestMappings": mappings,
                }
            },
        },
    )

    async def story() -> None:
        (tmp_path / "p").mkdir()
        claims = Claims(str(tmp_path), Objects(claim), answer)  # type: ignore[arg-type]
        await claims.prepare(pod)
        found = [claims.of("p", container) for container in pod.spec.containers]
        assert found == [(f"{DRIVER}/gpu=0",), (f"{DRIVER}/gpu=1",), ()]
        await claims.unprepare("p")
        assert claims.of("p", pod.spec.containers[0]) == ()

    asyncio.run(story())
