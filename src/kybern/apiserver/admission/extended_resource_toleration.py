"""ExtendedResourceToleration: nodes with special devices are tainted by the devices' names, and who asks for them is let in."""

from msgspec.structs import replace

from kybern.api.core_v1 import Pod, Toleration
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.request import Admission
from kybern.registry.podspec.amounts import is_extended


class ExtendedResourceToleration(Plugin):
    name = "ExtendedResourceToleration"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod):
            return
        pod: Pod = admission.object
        asked = [
            resource
            for container in (*pod.spec.containers, *(pod.spec.init_containers or ()))
            for resource in (container.resources.requests if container.resources else None) or {}
        ]
        tolerated = pod.spec.tolerations or ()
        added = tuple(
            toleration
            for toleration in map(tolerating, sorted(set(filter(is_extended, asked))))
            if toleration not in tolerated
        )
        if added:
            admission.object = replace(pod, spec=replace(pod.spec, tolerations=(*tolerated, *added)))


def tolerating(resource: str) -> Toleration:
    return Toleration(key=resource, operator="Exists", effect="NoSchedule")
