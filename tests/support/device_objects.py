"""What drivers offer, classes, claims and pods that claim devices, and where such a pod fits."""

from typing import Any

from known_objects import Known, node

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.api.resource_v1 import DeviceClass, ResourceClaim, ResourceSlice
from kybern.controllers.table import controllers
from kybern.scheduler.judgement import judge
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.snapshot import Snapshot

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")
DRIVER = "gpu.example.com"


def device(name: str, model: str = "a", memory: str = "8Gi", **more: Any) -> dict[str, Any]:
    attributes = {"model": {"string": model}, "version": {"version": "1.2.3"}, "big": {"bool": memory == "80Gi"}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **more}


def offer(on: str, *devices: dict[str, Any], count: int = 1, generation: int = 1, name: str = "", **spec: Any) -> Any:
    pool = {"name": on, "generation": generation, "resourceSliceCount": count}
    where = {"nodeName": on} if not spec.keys() & {"allNodes", "nodeSelector"} else {}
    meta = {"name": name or f"slice-{on}-{generation}"}
    return from_builtins(
        ResourceSlice,
        {"metadata": meta, "spec": {"driver": DRIVER, "pool": pool, "devices": list(devices), **where, **spec}},
    )


def of_class(name: str = "gpu", *selectors: str) -> Any:
    told = [{"cel": {"expression": text}} for text in (f'device.driver == "{DRIVER}"', *selectors)]
    return from_builtins(DeviceClass, {"metadata": {"name": name}, "spec": {"selectors": told}})


def exactly(name: str = "r", *selectors: str, cls: str = "gpu", **more: Any) -> dict[str, Any]:
    told = [{"cel": {"expression": text}} for text in selectors]
    return {"name": name, "exactly": {"deviceClassName": cls, "selectors": told, **more}}


def claim(*requests: dict[str, Any], name: str = "c", status: Any = None, **devices: Any) -> Any:
    made_from = {"resource.kubernetes.io/pod-claim-name": name}  # as those that templates make
    meta = {"name": name, "namespace": "a", "uid": f"claim-{name}", "annotations": made_from}
    spec = {"devices": {"requests": list(requests), **devices}}
    return from_builtins(ResourceClaim, {"metadata": meta, "spec": spec, "status": status or {}})


def pod(name: str = "p", *claims: str) -> Pod:
    told = [{"name": one, "resourceClaimName": one} for one in claims or ("c",)]
    return from_builtins(
        Pod,
        {
            "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"containers": [{"name": "c", "image": "i"}], "resourceClaims": told},
        },
    )


def cluster(*objects: Any) -> Snapshot:
    snapshot = Snapshot()
    snapshot.view = Known(of_class(), *objects)
    for name in ("n1", "n2"):
        snapshot.set_node(node(name))
    return snapshot


def fits(snapshot: Snapshot, wanted: Pod | None = None) -> list[str]:
    found = judge(wanted or pod(), snapshot, DEFAULT_PROFILE).fits
    return [one.metadata.name or "" for one, fit in zip(snapshot.nodes, found, strict=True) if fit]
