"""What a ResourceClaim costs in the names that quotas use: the devices of each class that it may get at most.

Whoever asks for devices by a claim pays for them in the names of extended resources too, as those do who ask for them in
a pod. What the scheduler claims for such a pod is paid for by the pod: one claim, and no more than the pod asks for,
since anybody may write a claim that says that it is for a pod.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kybern.api.core_v1 import Pod
from kybern.api.quantity import value
from kybern.api.resource_v1 import DeviceClass, DeviceSubRequest, ExactDeviceRequest, ResourceClaim
from kybern.api.shape import Quantity
from kybern.registry.podspec.demand import total

T = TypeVar("T")

OF_DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
BY_CLASS = "deviceclass.resource.kubernetes.io/"
"""Begins the name of the extended resource that every class is, whether it has another name or not."""
EXTENDED = "resource.kubernetes.io/extended-resource-claim"
"""The annotation of claims that are made for extended resources."""
DEVICES_OF_CLAIM_MAX = 32  # a claim for all devices there are gets no more


class Objects(Protocol):
    """The rest of the cluster."""

    def get(self, of: type[T], name: str, namespace: str = "", /) -> T | None: ...

    def list(self, of: type[T], namespace: str | None = None, /) -> Sequence[T]: ...


class Nothing:
    def get(self, of: type[T], name: str, namespace: str = "", /) -> T | None:
        return None

    def list(self, of: type[T], namespace: str | None = None, /) -> Sequence[T]:
        return ()


class Known:
    """The rest of the cluster while a count is made: which claim is the first of a pod is found out once for all of them."""

    def __init__(self, objects: Objects) -> None:
        self.get = objects.get
        self.list = objects.list
        self.firsts: dict[str, dict[tuple[str, str], str]] = {}

    def first_of(self, pod: Pod) -> str | None:
        """The uid of the oldest claim that says it is for the pod; None: there is none yet."""
        meta = pod.metadata
        namespace = meta.namespace or ""
        if namespace not in self.firsts:
            claims = sorted(self.list(ResourceClaim, namespace), key=age, reverse=True)
            named = ((pod_of(claim), claim) for claim in claims)
            self.firsts[namespace] = {
                (ref.name, ref.uid): one.metadata.uid or "" for ref, one in named if ref is not None
            }
        return self.firsts[namespace].get((meta.name or "", meta.uid or ""))


def device_usage(claim: ResourceClaim, known: Known) -> dict[str, Quantity]:
    counts = devices_of(claim)
    paid = paid_by_pod(claim, known)
    asked: Counter[str] = Counter()
    for class_name, count in counts.items():
        device_class = known.get(DeviceClass, class_name)
        asked[BY_CLASS + class_name] += count
        if device_class is not None and device_class.spec.extended_resource_name:
            asked[device_class.spec.extended_resource_name] += count
    usage = {f"{name}{OF_DEVICE_CLASS}": count for name, count in counts.items()}
    usage |= {f"requests.{name}": max(count - value(paid.get(name, "0")), 0) for name, count in asked.items()}
    return {name: Quantity(str(count)) for name, count in usage.items()}


def devices_of(claim: ResourceClaim) -> Mapping[str, int]:
    """By class, at most."""
    counts: Counter[str] = Counter()
    for request in claim.spec.devices.requests or () if claim.spec.devices else ():
        if request.exactly is not None:
            counts[request.exactly.device_class_name] += devices_in(request.exactly)
        most: Counter[str] = Counter()
        for choice in request.first_available or ():
            most |= Counter({choice.device_class_name: devices_in(choice)})
        counts += most
    return counts


def devices_in(wanted: ExactDeviceRequest | DeviceSubRequest) -> int:
    return DEVICES_OF_CLAIM_MAX if wanted.allocation_mode == "All" else wanted.count or 1


def paid_by_pod(claim: ResourceClaim, known: Known) -> Mapping[str, str]:
    """What the pod that it was made for asks for, where it is that pod's one claim."""
    owner = pod_of(claim)
    pod = known.get(Pod, owner.name, claim.metadata.namespace or "") if owner is not None else None
    if owner is None or pod is None or pod.metadata.uid != owner.uid:
        return {}
    told = pod.status.extended_resource_claim_status
    if told is not None:
        return total(pod.spec, "requests") if told.resource_claim_name == claim.metadata.name else {}
    return total(pod.spec, "requests") if known.first_of(pod) in (None, claim.metadata.uid) else {}


def pod_of(claim: ResourceClaim) -> Any:
    """The owner that a claim for extended resources names."""
    if (claim.metadata.annotations or {}).get(EXTENDED) != "true":
        return None
    return next((ref for ref in claim.metadata.owner_references or () if ref.controller and ref.kind == "Pod"), None)


def age(claim: ResourceClaim) -> tuple[str, str]:
    return claim.metadata.creation_timestamp or "", claim.metadata.name or ""
