"""Dynamic resource allocation on the node: what the scheduler allocated to a pod's claims, its drivers make ready here.

A driver answers with names of CDI devices, which a container gets that uses the claim. Which drivers were asked is
written down first, so that whatever happens they are told when the pod is over. Both calls may be repeated.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from kybern.api.codec import encode
from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.api.resource_v1 import ResourceClaim
from kybern.kubelet.files import read_text, replace_file
from kybern.reconcile.resource_claims import extended_claim_name
from kybern.volumes.objects import Objects
from kybern.volumes.paths import pod_directory

FOR_EXTENDED = " extended resources"  # no claim is called that

Json = dict[str, Any]
Ask = Callable[[str, str, Sequence[Json]], Awaitable[Mapping[str, Json]]]
"""(prepare or unprepare, driver, claims) -> by the claim's uid; DeviceFault where the driver does not answer."""


class ClaimFault(Exception):
    """A pod's claims cannot be made ready now; the message is what its event says."""


class Ready(msgspec.Struct, frozen=True):
    """One device of a claim: for which of its requests (none: for all), and what CDI calls it."""

    requests: list[str]
    cdi: list[str]
    driver: str
    pool: str
    device: str


class Claims:
    def __init__(self, pods_directory: str, objects: Objects, ask: Ask) -> None:
        self.pods_directory, self.objects, self.ask = pods_directory, objects, ask
        self.ready: dict[str, dict[str, list[Ready]]] = {}
        """By pod and by the name that the pod calls the claim by."""
        self.extended: dict[str, set[tuple[str, str]]] = {}
        """By pod: containers, and the requests of the claim for extended resources that are theirs."""

    async def prepare(self, pod: Pod) -> None:
        uid = pod.metadata.uid or ""
        if uid in self.ready or not (names := claim_names(pod)):
            return
        named = {name: await self._claim(pod, name, claim) for name, claim in names.items() if claim}
        by_driver = drivers_of(named.values())
        replace_file(self._path(uid), encode(by_driver))
        found: dict[str, list[Ready]] = {name: [] for name in named}
        for driver, claims in by_driver.items():
            answers = await self.ask("prepare", driver, claims)
            for name, claim in named.items():
                answer = answers.get(claim.metadata.uid or "")
                if answer is None and _uses(claim, driver):
                    raise ClaimFault(f"claim {claim.metadata.name}: driver {driver} says nothing of it")
                if answer and answer["error"]:
                    raise ClaimFault(f"claim {claim.metadata.name}: driver {driver}: {answer['error']}")
                for requests, cdi, pool, device in (answer or {}).get("devices", ()):
                    found[name].append(Ready(requests, cdi, driver, pool, device))
        told = pod.status.extended_resource_claim_status
        if told is not None:
            self.extended[uid] = {(one.container_name, one.request_name) for one in told.request_mappings}
        self.ready[uid] = found

    async def _claim(self, pod: Pod, name: str, claim_name: str) -> ResourceClaim:
        claim = await self.objects.get(ResourceClaim, pod.metadata.namespace or "", claim_name)
        if claim is None:
            raise ClaimFault(f'resourceclaims.resource.k8s.io "{claim_name}" not found')
        if claim.status.allocation is None:
            raise ClaimFault(f"resource claim {claim_name} is not allocated")
        if pod.metadata.uid not in {user.uid for user in claim.status.reserved_for or ()}:
            raise ClaimFault(f"pod {pod.metadata.name} is not allowed to use resource claim {claim_name}")
        return claim

    def of(self, uid: str, container: Container | EphemeralContainer) -> tuple[str, ...]:
        """The CDI devices of a container."""
        return tuple(dict.fromkeys(cdi for _, device in self.devices_of(uid, container) for cdi in device.cdi))

    def devices_of(self, uid: str, container: Container | EphemeralContainer) -> list[tuple[str, Ready]]:
        """Each with the pod's name of its claim."""
        asked = (container.resources.claims if container.resources else None) or ()
        mine = {request for name, request in self.extended.get(uid, ()) if name == container.name}
        by_name = [
            (FOR_EXTENDED, ready)
            for ready in self.ready.get(uid, {}).get(FOR_EXTENDED, ())
            if mine.intersection(ready.requests)
        ]
        return by_name + [
            (claim.name, ready)
            for claim in asked
            for ready in self.ready.get(uid, {}).get(claim.name, ())
            if not claim.request or not ready.requests or claim.request in {r.partition("/")[0] for r in ready.requests}
        ]

    async def unprepare(self, uid: str) -> None:
        """Tell every driver that was asked. DeviceFault or ClaimFault where one cannot be told yet."""
        text = read_text(self._path(uid))
        by_driver = msgspec.json.decode(text, type=dict[str, list[dict[str, str]]]) if text else {}
        for driver, claims in by_driver.items():
            answers = await self.ask("unprepare", driver, claims)
            for claim in claims:
                error = answers.get(claim["uid"], {}).get("error")
                if error:
                    raise ClaimFault(f"claim {claim['name']}: driver {driver}: {error}")
        self.ready.pop(uid, None)
        self.extended.pop(uid, None)

    def _path(self, uid: str) -> str:
        return f"{pod_directory(self.pods_directory, uid)}/claims.json"


def claim_names(pod: Pod) -> dict[str, str]:
    """The claim behind each of the pod's names for one; empty for a template that needed none."""
    made = {status.name: status.resource_claim_name or "" for status in pod.status.resource_claim_statuses or ()}
    names = {c.name: c.resource_claim_name or made.get(c.name, "") for c in pod.spec.resource_claims or ()}
    extended = extended_claim_name(pod)
    return {**names, FOR_EXTENDED: extended} if extended else names


def drivers_of(claims: Any) -> dict[str, list[Json]]:
    found: dict[str, dict[str, Json]] = defaultdict(dict)
    for claim in claims:
        meta = claim.metadata
        for result in claim.status.allocation.devices.results or () if claim.status.allocation.devices else ():
            found[result.driver][meta.uid] = {"namespace": meta.namespace, "uid": meta.uid, "name": meta.name}
    return {driver: list(named.values()) for driver, named in found.items()}


def _uses(claim: ResourceClaim, driver: str) -> bool:
    devices = claim.status.allocation.devices if claim.status.allocation else None
    return any(result.driver == driver for result in (devices.results if devices else None) or ())
