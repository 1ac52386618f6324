"""Which devices a node has, how they are, and which container has which. No I/O but the file it is kept in.

A device belongs to a pod from its admission until nothing of the pod is left. An init container's devices go on to the
containers after it. What a container was given stays its own when it starts again.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kybern.api.codec import encode
from kybern.api.core_v1 import Container, Pod, ResourceHealth, ResourceStatus
from kybern.api.quantity import value
from kybern.kubelet.files import read_text, replace_file
from kybern.kubelet.resources import limits_of
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.status import Verdict

HEALTHY = "Healthy"
REASON = "UnexpectedAdmissionError"

# container -> resource -> the devices' ids
Given = dict[str, dict[str, list[str]]]


class Kept(msgspec.Struct, omit_defaults=True):
    """As it is on disk."""

    given: dict[str, Given] = {}
    """By pod."""
    resources: list[str] = []
    """Those that a plugin has offered once: without it there are none."""


class Inventory:
    def __init__(self, path: str) -> None:
        """`path` of the file; empty for none."""
        self.path = path
        self.devices: dict[str, dict[str, str]] = {}
        """By resource: the health of each device."""
        self.kept = self._load()

    def _load(self) -> Kept:
        text = read_text(self.path) if self.path else ""
        try:
            return msgspec.json.decode(text, type=Kept) if text else Kept()
        except msgspec.DecodeError:
            return Kept()

    def _save(self) -> None:
        if self.path:
            replace_file(self.path, encode(self.kept))

    # What plugins say.

    def offered(self, resource: str, devices: Mapping[str, str]) -> bool:
        """All its devices and their health. Whether that is news."""
        news = self.devices.get(resource) != devices
        self.devices[resource] = dict(devices)
        if resource not in self.kept.resources:
            self.kept.resources.append(resource)
            self._save()
        return news

    def gone(self, resource: str) -> None:
        """Its plugin is: nobody gets any of them until it comes back."""
        self.devices.pop(resource, None)

    def amounts(self) -> dict[str, tuple[int, int]]:
        """Of each resource, how many there are and how many are well."""
        found = dict.fromkeys(self.kept.resources, (0, 0))
        return found | {
            resource: (len(devices), sum(health == HEALTHY for health in devices.values()))
            for resource, devices in self.devices.items()
        }

    # Who has what.

    def admit(self, pod: Pod) -> Verdict | None:
        """Give the pod all it asks for, or nothing and the reason."""
        uid = pod.metadata.uid or ""
        if uid in self.kept.given or not any(self._asked(container) for container in _every(pod)):
            return None
        given: Given = {}
        passed_on: dict[str, list[str]] = {}
        for container in pod.spec.init_containers or ():
            refusal = self._give(container, given, passed_on)
            if refusal is not None:
                return refusal
            if not is_sidecar(container):
                for resource, ids in given.get(container.name, {}).items():
                    passed_on[resource] = list(dict.fromkeys((*passed_on.get(resource, ()), *ids)))
        for container in pod.spec.containers:
            refusal = self._give(container, given, passed_on, for_good=True)
            if refusal is not None:
                return refusal
        self.kept.given[uid] = given
        self._save()
        return None

    def _asked(self, container: Container) -> dict[str, int]:
        known = {*self.devices, *self.kept.resources}
        return {name: value(q) for name, q in limits_of(container).items() if name in known and value(q)}

    def _give(
        self, container: Container, given: Given, passed_on: dict[str, list[str]], *, for_good: bool = False
    ) -> Verdict | None:
        """`passed_on`: what an earlier container leaves; `for_good`: it goes to no one after this one."""
        for resource, count in self._asked(container).items():
            reused = passed_on.get(resource, [])[:count]
            free = self._free(resource, given)
            if len(reused) + len(free) < count:
                text = (
                    f"Allocate failed due to requested number of devices unavailable for {resource}. "
                    f"Requested: {count}, Available: {len(reused) + len(free)}, which is unexpected"
                )
                return Verdict(REASON, text)
            given.setdefault(container.name, {})[resource] = [*reused, *free[: count - len(reused)]]
            if for_good or is_sidecar(container):
                passed_on[resource] = passed_on.get(resource, [])[count:]
        return None

    def _free(self, resource: str, given: Given) -> list[str]:
        taken = {device for each in (*self.kept.given.values(), given) for device in _of_resource(each, resource)}
        well = (device for device, health in self.devices.get(resource, {}).items() if health == HEALTHY)
        return sorted(device for device in well if device not in taken)

    def of(self, uid: str, container: str) -> Mapping[str, list[str]]:
        return self.kept.given.get(uid, {}).get(container, {})

    def release(self, uid: str) -> None:
        if self.kept.given.pop(uid, None) is not None:
            self._save()

    def keep_only(self, uids: Iterable[str]) -> None:
        """Pods that went while nobody looked have nothing any more."""
        gone = self.kept.given.keys() - set(uids)
        for uid in gone:
            del self.kept.given[uid]
        if gone:
            self._save()

    def statuses(self, uid: str, container: str) -> tuple[ResourceStatus, ...] | None:
        """How the container's devices are."""
        found = tuple(
            ResourceStatus(
                name=resource,
                resources=tuple(ResourceHealth(resource_id=i, health=self._health(resource, i)) for i in ids),
            )
            for resource, ids in self.of(uid, container).items()
        )
        return found or None

    def _health(self, resource: str, device: str) -> str:
        return self.devices.get(resource, {}).get(device, "Unknown")


def _every(pod: Pod) -> Iterator[Container]:
    yield from pod.spec.init_containers or ()
    yield from pod.spec.containers


def _of_resource(given: Given, resource: str) -> Iterator[str]:
    for resources in given.values():
        yield from resources.get(resource, ())
