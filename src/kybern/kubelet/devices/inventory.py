"""Which devices a node has, how they are, and which container has which. No I/O but the file it is kept in.

A device belongs to a pod from its admission until nothing of the pod is left. An init container's devices go on to the
containers after it. What a container was given stays its own when it starts again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kybern.api.core_v1 import Container, Pod, ResourceHealth, ResourceStatus
from kybern.api.quantity import value
from kybern.kubelet.resources import limits_of
from kybern.kubelet.status import Verdict
from kybern.kubelet.topology.asking import in_order, together
from kybern.kubelet.topology.given import Given, Kept
from kybern.kubelet.topology.hints import Hint, Hints, masks, preferring

HEALTHY = "Healthy"
REASON = "UnexpectedAdmissionError"
SHORT = (
    "Allocate failed due to requested number of devices unavailable for {}. "
    "Requested: {}, Available: {}, which is unexpected"
)

Place = tuple[str, str, str]
"""Pod, container and resource."""


class Device(NamedTuple):
    health: str = HEALTHY
    nodes: tuple[int, ...] = ()
    """The NUMA nodes that it is near; none where its plugin does not say."""


class Choice(NamedTuple):
    """Which devices a container may have: those it must, those that lie well, the others."""

    reused: tuple[str, ...]
    near: tuple[str, ...]
    far: tuple[str, ...]


class Inventory:
    def __init__(self, path: str) -> None:
        """`path` of the file; empty for none."""
        self.devices: dict[str, dict[str, Device]] = {}
        """By resource."""
        self.numa_nodes: tuple[int, ...] = ()
        """Of the machine."""
        self.given: Given[dict[str, list[str]]] = Given(path, dict[str, list[str]])
        self._known: Kept[list[str]] = Kept(f"{path}.resources" if path else "", list[str], [])
        """The resources that a plugin has offered once: without it there are none."""
        self._open: dict[Place, Choice] = {}

    # What plugins say.

    def offered(self, resource: str, devices: Mapping[str, Device]) -> bool:
        """All its devices. Whether that is news."""
        news = self.devices.get(resource) != devices
        self.devices[resource] = dict(devices)
        if resource not in self._known.value:
            self._known.value.append(resource)
            self._known.save()
        return news

    def gone(self, resource: str) -> None:
        """Its plugin is: nobody gets any of them until it comes back."""
        self.devices.pop(resource, None)

    def amounts(self) -> dict[str, tuple[int, int]]:
        """Of each resource, how many there are and how many are well."""
        found = dict.fromkeys(self._known.value, (0, 0))
        return found | {
            resource: (len(devices), sum(device.health == HEALTHY for device in devices.values()))
            for resource, devices in self.devices.items()
        }

    # Who has what.

    def _asked(self, container: Container) -> dict[str, int]:
        known = {*self.devices, *self._known.value}
        return {name: value(q) for name, q in limits_of(container).items() if name in known and value(q)}

    def hints(self, pod: Pod, containers: Sequence[Container]) -> Hints:
        """No word about devices that are nowhere in particular."""
        asked = together(pod, containers, self._asked)
        return {resource: self._near(pod, resource, count) for resource, count in asked.items()}

    def _near(self, pod: Pod, resource: str, count: int) -> list[Hint] | None:
        devices = self.devices.get(resource, {})
        if not any(device.nodes for device in devices.values()):
            return None
        reusable = {i for i in self._reusable(pod, resource) if i in devices and devices[i].nodes}
        usable = reusable | self._free(resource)
        fits, least = [], len(self.numa_nodes)
        for nodes in masks(self.numa_nodes):
            here = {i for i, device in devices.items() if nodes & {*device.nodes}}
            if len(here) >= count:
                least = min(least, len(nodes))
            if reusable <= here and len(usable & here) >= count:
                fits.append(nodes)
        return preferring(fits, least)

    def allocate(self, pod: Pod, container: Container, hint: Hint) -> Verdict | None:
        """All that the container asks for, from those nodes first; or the reason why not."""
        uid = pod.metadata.uid or ""
        asked = self._asked(container)
        if not asked or self.given.of(uid, container.name) is not None:
            return None
        found: dict[str, list[str]] = {}
        for resource, count in asked.items():
            reused = sorted(self._reusable(pod, resource))[:count]
            free = self._free(resource)
            if len(reused) + len(free) < count:
                return Verdict(REASON, SHORT.format(resource, count, len(reused) + len(free)))
            near, far = self._by_place(resource, free, hint)
            found[resource] = [*reused, *(*near, *far)[: count - len(reused)]]
            self._open[uid, container.name, resource] = Choice(tuple(reused), tuple(near), tuple(far))
        self.given.give(uid, {container.name: found})
        return None

    def _by_place(self, resource: str, free: Iterable[str], hint: Hint) -> tuple[list[str], list[str]]:
        """On the nodes of the hint, and elsewhere or nowhere; without a hint all count as near."""
        devices = self.devices[resource]
        ordered = sorted(free)
        if hint.nodes is None or not any(device.nodes for device in devices.values()):
            return ordered, []
        near = [i for i in ordered if hint.nodes & {*devices[i].nodes}]
        elsewhere = sorted(set(ordered) - set(near), key=lambda i: (not devices[i].nodes, i))
        return near, elsewhere

    def choice(self, uid: str, container: str, resource: str) -> Choice | None:
        """What the container might have been given instead, as long as none of it was handed over."""
        found = self._open.get((uid, container, resource))
        if found is None:
            return None
        usable = self._free(resource) | set(self.of(uid, container).get(resource, ()))
        return Choice(found.reused, *(tuple(i for i in ids if i in usable) for ids in (found.near, found.far)))

    def settle(self, uid: str, container: str, resource: str, preferred: Iterable[str] = ()) -> list[str]:
        """The container's devices from now on: the preferred ones that it may have, then the others."""
        now = list(self.of(uid, container)[resource])
        offered = self.choice(uid, container, resource)
        self._open.pop((uid, container, resource), None)
        wanted = [*dict.fromkeys(preferred)]
        if offered is None or not wanted:
            return now
        ids = [*offered.reused]
        for group in (offered.near, offered.far):
            ids += [i for i in wanted if i in group]
            ids += [i for i in group if i not in wanted]
            if len(ids) >= len(now):
                break
        self.given.give(uid, {container: {**self.of(uid, container), resource: ids[: len(now)]}})
        return ids[: len(now)]

    def _reusable(self, pod: Pod, resource: str) -> set[str]:
        """What the pod's init containers leave to those that come now."""
        left: set[str] = set()
        for container, lasts in in_order(pod):
            ids = set(self.of(pod.metadata.uid or "", container.name).get(resource, ()))
            left = left - ids if lasts else left | ids
        return left

    def _free(self, resource: str) -> set[str]:
        taken = {
            device
            for containers in self.given.every.values()
            for resources in containers.values()
            for device in resources.get(resource, ())
        }
        return {i for i, device in self.devices.get(resource, {}).items() if device.health == HEALTHY} - taken

    def of(self, uid: str, container: str) -> Mapping[str, list[str]]:
        return self.given.of(uid, container) or {}

    def users_of(self, resource: str) -> list[str]:
        """The pods that have some of it."""
        every = self.given.every.items()
        return [uid for uid, containers in every if any(resource in found for found in containers.values())]

    def release(self, uid: str) -> bool:
        self._open = {place: choice for place, choice in self._open.items() if place[0] != uid}
        return self.given.release(uid)

    def keep_only(self, uids: Iterable[str]) -> None:
        self.given.keep_only(uids)

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
        found = self.devices.get(resource, {}).get(device)
        return found.health if found else "Unknown"
