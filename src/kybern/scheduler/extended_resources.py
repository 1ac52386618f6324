"""Extended resources that device classes stand for: asked for by name in a container, given as devices.

A node that has the resource itself gives it by its device plugin. On any other node a claim is made for the pod when it is
bound, with a request for each container and resource, and the pod's status says which container uses which request.
Init containers use again what is asked for by those that come after them; where that is too little, one request more
serves the largest of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kybern.api.core_v1 import Container, ContainerExtendedResourceRequest, Node, Pod
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.quantity import value
from kybern.api.resource_v1 import DeviceClaim, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceClaim
from kybern.api.resource_v1 import ResourceClaimSpec as ClaimSpec
from kybern.reconcile.resource_claims import owner_of_claim
from kybern.registry.device_usage import BY_CLASS, EXTENDED
from kybern.registry.podspec.amounts import is_extended
from kybern.scheduler.claims import Lookup

Classes = Mapping[str, str]
"""Resource → the class that stands for it."""
Mappings = tuple[ContainerExtendedResourceRequest, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A claim for a pod's extended resources, which exists in memory until the pod is bound."""

    claim: ResourceClaim
    mappings: Mappings


def classes_of(pod: Pod, view: Lookup) -> Classes:
    """Of the resources that the pod asks for, those that a class stands for."""
    found = {}
    for name in {name for container, _ in containers_of(pod) for name in requests_of(container) if "/" in name}:
        stands_for = class_for(name, view)
        if stands_for:
            found[name] = stands_for
    return found


def class_for(resource: str, view: Lookup) -> str:
    """Of several that name it the newest one, then the first by name."""
    if resource.startswith(BY_CLASS):
        found = view.get(DeviceClass, resource.removeprefix(BY_CLASS))
        return found.metadata.name or "" if found is not None else ""
    if not is_extended(resource):
        return ""
    named = [one for one in view.list(DeviceClass) if one.spec.extended_resource_name == resource]
    named.sort(key=lambda one: one.metadata.name or "")
    newest = max(named, key=lambda one: one.metadata.creation_timestamp or "", default=None)
    return newest.metadata.name or "" if newest is not None else ""


def lacking(classes: Classes, node: Node) -> Classes:
    """Those that the node does not have itself."""
    there = node.status.allocatable or {}
    return {name: by for name, by in classes.items() if not value(there.get(name, "0"))}


def made_for(pod: Pod, classes: Classes) -> Made:
    requests: list[DeviceRequest] = []
    mappings: list[ContainerExtendedResourceRequest] = []
    for resource in sorted(classes):
        asked, used = Sharing(containers_of(pod), resource, classes[resource]).worked_out()
        requests += asked
        mappings += used
    meta = ObjectMeta(
        generate_name=f"{pod.metadata.name}-extended-resources-", namespace=pod.metadata.namespace,
        uid=key_of(pod.metadata.uid or ""), annotations={EXTENDED: "true"}, owner_references=(owner_of_claim(pod),),
    )  # fmt: skip
    devices = DeviceClaim(requests=tuple(sorted(requests, key=lambda one: one.name)))
    return Made(ResourceClaim(metadata=meta, spec=ClaimSpec(devices=devices)), tuple(mappings))


def key_of(uid: str) -> str:
    """In the place of the claim's uid, until it has one. By the pod's."""
    return f"extended resources of {uid}"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who of a pod's containers uses which request for one resource."""

    containers: Sequence[tuple[Container, bool]]
    resource: str
    device_class: str

    def worked_out(self) -> tuple[list[DeviceRequest], list[ContainerExtendedResourceRequest]]:
        lasting = {
            place: self.request(place, count)
            for place, (container, lasts) in enumerate(self.containers)
            if lasts and (count := self.asked(container))
        }
        used = [self.used_by(place, request.name) for place, request in lasting.items()]
        largest: DeviceRequest | None = None
        beginning: list[tuple[int, str | None]] = []
        for place, (container, lasts) in enumerate(self.containers):
            count = 0 if lasts else self.asked(container)
            for later, request in lasting.items():
                if later > place and count > 0:
                    beginning.append((place, request.name))
                    count -= count_of(request)
            if count > 0:
                beginning.append((place, None))
                if largest is None or count > count_of(largest):
                    largest = self.request(place, count)
        more = [largest] if largest is not None else []
        used += [self.used_by(place, name or (largest.name if largest else "")) for place, name in beginning]
        return [*more, *lasting.values()], used

    def asked(self, container: Container) -> int:
        return value(requests_of(container).get(self.resource, "0"))

    def request(self, place: int, count: int) -> DeviceRequest:
        """Named by the places of the container and of the resource in it."""
        number = sorted(requests_of(self.containers[place][0])).index(self.resource)
        exactly = ExactDeviceRequest(device_class_name=self.device_class, allocation_mode="ExactCount", count=count)
        return DeviceRequest(name=f"container-{place}-request-{number}", exactly=exactly)

    def used_by(self, place: int, request: str) -> ContainerExtendedResourceRequest:
        name = self.containers[place][0].name
        return ContainerExtendedResourceRequest(container_name=name, resource_name=self.resource, request_name=request)


def count_of(request: DeviceRequest) -> int:
    return (request.exactly.count if request.exactly else None) or 0


def containers_of(pod: Pod) -> list[tuple[Container, bool]]:
    """In order, with whether they run as long as the pod does."""
    return list(_containers(pod))


def _containers(pod: Pod) -> Iterator[tuple[Container, bool]]:
    for container in pod.spec.init_containers or ():
        yield container, container.restart_policy == "Always"
    for container in pod.spec.containers:
        yield container, True


def requests_of(container: Container) -> Mapping[str, str]:
    return (container.resources.requests if container.resources else None) or {}
