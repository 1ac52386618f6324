"""What of devices is alpha upstream is left out of what is written, and stays where it is stored."""

from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.resource_v1 import ResourceClaim, ResourceClaimTemplate, ResourceSlice
from kybern.registry.devices import RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from kybern.registry.resource import Resource
from kybern.registry.resourceslices import RESOURCE_SLICES

DERIVED = [{"name": "d.example.com/a", "expression": "1"}]


def claimed(**more: Any) -> dict[str, Any]:
    alternative = {"name": "a", "deviceClassName": "c", **more}
    return {
        "devices": {
            "requests": [
                {"name": "r", "exactly": {"deviceClassName": "c", **more}},
                {"name": "s", "firstAvailable": [alternative]},
            ]
        }
    }


def slice_of(spec: dict[str, Any], consumed: dict[str, Any], attribute: dict[str, Any], device: dict[str, Any]) -> Any:
    devices = [
        {
            "name": "one",
            "attributes": {"a": {"int": 1, **attribute}},
            "consumesCounters": [{"counterSet": "s", **consumed}],
            **device,
        }
    ]
    return from_builtins(ResourceSlice, {"spec": {"driver": "d.example.com", "devices": devices, **spec}})


def judged(rules: Resource, plain: Any, alpha: Any) -> None:
    assert rules.on_create(alpha) == plain
    assert rules.on_create(plain) == plain
    assert rules.on_update(alpha, plain) == plain
    assert rules.on_update(alpha, alpha) == alpha


def test_derived_attributes() -> None:
    plain, alpha = (
        from_builtins(ResourceClaim, {"spec": claimed(**more)}) for more in ({}, {"derivedAttributes": DERIVED})
    )
    judged(RESOURCE_CLAIMS, plain, alpha)
    plain, alpha = (
        from_builtins(ResourceClaimTemplate, {"spec": {"spec": claimed(**more)}})
        for more in ({}, {"derivedAttributes": DERIVED})
    )
    judged(RESOURCE_CLAIM_TEMPLATES, plain, alpha)


def test_parts_of_slices() -> None:
    plain = slice_of({}, {}, {}, {})
    for alpha in (
        slice_of({"skipNodeOperations": ["*"]}, {}, {}, {}),
        slice_of({"partitionTypeAttribute": "d.example.com/a"}, {}, {}, {}),
        slice_of({}, {"compatibilityGroups": ["g"]}, {}, {}),
        slice_of({}, {}, {"ints": [1]}, {}),
        slice_of({}, {}, {}, {"nodeAllocatableResources": {"cpu": {"overhead": {"perPod": "1"}}}}),
    ):
        judged(RESOURCE_SLICES, plain, alpha)
