"""Expressions that select devices: what a device says of itself, and what becomes of expressions that fail."""

import pytest
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.resource_v1 import Device
from kybern.scheduler.device_selectors import alike, select

DEVICE = from_builtins(
    Device,
    {
        "name": "gpu-0",
        "attributes": {"model": {"string": "a100"}, "cores": {"int": 8}, "vendor.com/driver": {"version": "1.10.0"}},
        "capacity": {"memory": {"value": "40Gi"}},
    },
)
TEN = "[1,2,3,4,5,6,7,8,9,10]"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("device.driver == 'gpu.example.com' && device.attributes['gpu.example.com'].model == 'a100'", True),
        ("device.attributes['vendor.com'].driver.isGreaterThan(semver('1.9.0'))", True),
        ("device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('39Gi'))", True),
        ("has(device.attributes['nobody.com'].x)", False),
        ("!has(device.attributes['nobody.com'].x)", True),
        ("device.attributes['gpu.example.com'].nope == 1", False),
        ("device.nope ==", False),
        (f"{TEN}.all(a, {TEN}.all(b, {TEN}.all(c, {TEN}.all(d, {TEN}.all(e, {TEN}.all(f, true))))))", False),
    ],
)  # fmt: skip
def test_a_selector_says_yes_or_no(expression: str, holds: bool) -> None:
    assert select("gpu.example.com", DEVICE, [expression]) is holds


def test_of_devices_that_say_the_same_one_is_looked_at() -> None:
    wanted = ["device.attributes['gpu.example.com'].cores == 8"]
    before = alike.cache_info().misses
    assert all(select("gpu.example.com", replace(DEVICE, name=f"gpu-{number}"), wanted) for number in range(100))
    assert alike.cache_info().misses == before + 1
    assert not select("other.example.com", DEVICE, wanted)
    assert not select("gpu.example.com", replace(DEVICE, attributes={}), wanted)
