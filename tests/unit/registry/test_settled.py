"""What may not change once an object is made: every kind's, in upstream's words."""

from typing import Any

import pytest
from valid_objects import valid_objects

from kybern.api.codec import decode, encode
from kybern.registry import RESOURCES

FIXED = "field is immutable"

# (kind, merge patch, what is said; "" where it may change)
CASES: list[tuple[str, Any, str]] = [
    ("CSIDriver", {"spec": {"attachRequired": False}}, f"spec.attachedRequired: Invalid value: false: {FIXED}"),
    ("CSIDriver", {"spec": {"volumeLifecycleModes": ["Ephemeral"]}}, f'spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: {FIXED}'),
    ("CSIDriver", {"spec": {"fsGroupPolicy": "None"}}, ""),
    ("CSINode", {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "z"}]}}, f'spec.drivers: Invalid value: {{"name":"d.example.com","nodeID":"z"}}: {FIXED}'),
    ("CSINode", {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["zone"], "allocatable": {"count": 9}}]}}, ""),
    ("CSINode", {"spec": {"drivers": []}}, ""),
    ("CSIStorageCapacity", {"storageClassName": "z"}, f'storageClassName: Invalid value: "z": {FIXED}'),
    ("CSIStorageCapacity", {"nodeTopology": {"matchLabels": {"zone": "z"}}}, f'nodeTopology: Invalid value: {{"matchLabels":{{"zone":"z"}}}}: {FIXED}'),
    ("CSIStorageCapacity", {"capacity": "2Gi"}, ""),
    ("IPAddress", {"spec": {"parentRef": {"resource": "services", "name": "z"}}}, f'spec.parentRef: Invalid value: {{"name":"z","namespace":"default","resource":"services"}}: {FIXED}'),
    ("ServiceCIDR", {"spec": {"cidrs": ["10.201.0.0/16"]}}, f'spec.cidrs[0]: Invalid value: "10.201.0.0/16": {FIXED}'),
    ("ServiceCIDR", {"spec": {"cidrs": []}}, f"spec.cidrs: Invalid value: []: {FIXED}"),
    ("ServiceCIDR", {"spec": {"cidrs": ["10.200.0.0/16", "fd00::/112"]}}, ""),
    ("StorageVersionMigration", {"spec": {"resource": {"resource": "pods", "group": ""}}}, f'spec: Invalid value: {{"resource":{{"group":"","resource":"pods"}}}}: {FIXED}'),
    ("StorageClass", {"provisioner": "z"}, "provisioner: Forbidden: updates to provisioner are forbidden."),
    ("PriorityClass", {"value": 5}, "value: Forbidden: may not be changed in an update."),
    ("RuntimeClass", {"handler": "z"}, f'handler: Invalid value: "z": {FIXED}'),
    ("VolumeAttributesClass", {"driverName": "z"}, "driverName: Forbidden: updates to driverName are forbidden."),
    ("IngressClass", {"spec": {"controller": "z.example.com/c"}}, f'spec.controller: Invalid value: "z.example.com/c": {FIXED}'),
    ("events.k8s.io/Event", {"reason": "Other"}, f'reason: Invalid value: "Other": {FIXED}'),
    ("events.k8s.io/Event", {"note": "other"}, f'message: Invalid value: "other": {FIXED}'),
    ("events.k8s.io/Event", {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}, ""),
    ("v1/Event", {"reason": "Other"}, ""),
]  # fmt: skip


def merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    return {**value, **{key: merged(value.get(key, {}), inner) for key, inner in patch.items()}}


@pytest.mark.parametrize(("name", "patch", "said"), CASES)
def test_what_is_settled_stays(name: str, patch: Any, said: str) -> None:
    group, _, kind = name.rpartition("/")
    rules = next(r for r in RESOURCES if r.kind.kind == kind and r.kind.api_version.startswith(group))
    obj = valid_objects()[rules.kind]
    old = rules.on_create(rules.default(decode(rules.kind.type, encode(obj))))
    new = rules.on_update(rules.default(decode(rules.kind.type, encode(merged(obj, patch)))), old)
    found = rules.validate_update(new, old) if rules.validate_update else rules.validate(new)
    assert [str(error) for error in found] == ([said] if said else [])
