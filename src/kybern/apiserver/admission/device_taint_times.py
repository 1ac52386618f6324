"""DeviceTaintTimes: a device's taint says since when it is there, since that is what those who tolerate it for a while count from.

Upstream's defaults do this. A rule whose taint becomes another one counts anew.
"""

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.resource_v1 import Device, DeviceTaint, DeviceTaintRule, ResourceSlice
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.request import Admission


class DeviceTaintTimes(Plugin):
    name = "DeviceTaintTimes"
    kinds = (ResourceSlice, DeviceTaintRule)

    async def admit(self, admission: Admission) -> None:
        now = rfc3339(self.inputs.clock.wall())
        if is_write_of(admission, ResourceSlice):
            devices = admission.object.spec.devices
            timed = devices and tuple(with_times(device, now) for device in devices)
            if timed != devices:
                admission.object = replace(admission.object, spec=replace(admission.object.spec, devices=timed))
        elif is_write_of(admission, DeviceTaintRule):
            old = admission.old.spec.taint if admission.old is not None else None
            taint = since(admission.object.spec.taint, old, now)
            if taint != admission.object.spec.taint:
                admission.object = replace(admission.object, spec=replace(admission.object.spec, taint=taint))


def with_times(device: Device, now: str) -> Device:
    if all(taint.time_added for taint in device.taints or ()):
        return device
    return replace(device, taints=tuple(since(taint, None, now) for taint in device.taints or ()))


def since(taint: DeviceTaint, old: DeviceTaint | None, now: str) -> DeviceTaint:
    stays = old is None or old == taint or old.time_added != taint.time_added
    return taint if taint.time_added and stays else replace(taint, time_added=now)
