"""LimitRanger: containers get a namespace's default requests and limits, and stay within its bounds."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements
from kybern.api.quantity import compare, milli
from kybern.api.shape import Quantity
from kybern.apiserver.admission.followed import Followed
from kybern.apiserver.admission.plugin import Inputs, Plugin, is_write_of, joined, refused
from kybern.apiserver.request import Admission
from kybern.registry.quota_usage import pod_total

ANNOTATION = "kubernetes.io/limit-ranger"
Amounts = Mapping[str, Quantity]


class LimitRanger(Plugin):
    name = "LimitRanger"
    kinds = (Pod, PersistentVolumeClaim)

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.ranges = Followed(inputs.objects, LimitRange)

    async def admit(self, admission: Admission) -> None:
        if is_write_of(admission, Pod, "CREATE"):
            for limits in self.ranges.of(admission.namespace):
                admission.object = with_defaults(admission.object, limits)

    async def validate(self, admission: Admission) -> None:
        if is_write_of(admission, Pod, "CREATE"):
            self.check(admission, pod_violations)
        elif is_write_of(admission, PersistentVolumeClaim):
            self.check(admission, claim_violations)

    def check(self, admission: Admission, wrong: Callable[[Any, LimitRangeItem], Iterator[str]]) -> None:
        for limits in self.ranges.of(admission.namespace):
            reasons = [reason for item in limits.spec.limits for reason in wrong(admission.object, item)]
            if reasons:
                raise refused(admission, joined(reasons))


def with_defaults(pod: Pod, limits: LimitRange) -> Pod:
    limit: dict[str, Quantity] = {}
    request: dict[str, Quantity] = {}
    for item in limits.spec.limits:
        if item.type == "Container":
            limit |= item.default or {}
            request |= item.default_request or {}
    notes: list[str] = []
    spec = replace(
        pod.spec,
        containers=tuple(defaulted(c, request, limit, "container", notes) for c in pod.spec.containers),
        init_containers=tuple(
            defaulted(c, request, limit, "init container", notes) for c in pod.spec.init_containers or ()
        )
        or None,
    )
    if not notes:
        return pod
    annotations = {**(pod.metadata.annotations or {}), ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes)}
    return replace(pod, spec=spec, metadata=replace(pod.metadata, annotations=annotations))


def defaulted(container: Container, request: Amounts, limit: Amounts, what: str, notes: list[str]) -> Container:
    resources = container.resources or ResourceRequirements()
    limits, requests = dict(resources.limits or {}), dict(resources.requests or {})
    for given, default, kind in ((requests, request, "request"), (limits, limit, "limit")):
        missing = sorted(name for name in default if name not in given)
        given |= {name: default[name] for name in missing}
        if missing:
            notes.append(f"{', '.join(missing)} {kind} for {what} {container.name}")
    return replace(container, resources=replace(resources, limits=limits or None, requests=requests or None))


def pod_violations(pod: Pod, item: LimitRangeItem) -> Iterator[str]:
    if item.type == "Container":
        for container in (*pod.spec.containers, *(pod.spec.init_containers or ())):
            resources = container.resources or ResourceRequirements()
            yield from violations(item, resources.requests or {}, resources.limits or {})
    if item.type == "Pod":
        yield from violations(item, pod_total(pod, "requests"), pod_total(pod, "limits"))


def claim_violations(claim: PersistentVolumeClaim, item: LimitRangeItem) -> Iterator[str]:
    if item.type != "PersistentVolumeClaim":
        return
    requests = (claim.spec.resources.requests if claim.spec.resources else None) or {}
    for name, least in (item.min or {}).items():
        yield from too_little(name, item.type, least, requests, {})
    for name, most in (item.max or {}).items():
        request = requests.get(name)
        if request is not None and compare(request, most) > 0:
            yield f"maximum {name} usage per {item.type} is {most}, but request is {request}"


def violations(item: LimitRangeItem, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in (item.min or {}).items():
        yield from too_little(name, item.type, least, requests, limits)
    for name, most in (item.max or {}).items():
        yield from too_much(name, item.type, most, requests, limits)
    for name, most in (item.max_limit_request_ratio or {}).items():
        yield from too_far_apart(name, item.type, most, requests, limits)


def too_little(name: str, kind: str, least: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    text = f"minimum {name} usage per {kind} is {least}"
    if request is None:
        yield f"{text}.  No request is specified"
    elif compare(request, least) < 0:
        yield f"{text}, but request is {request}"
    elif limit is not None and compare(limit, least) < 0:
        yield f"{text}, but limit is {limit}"


def too_much(name: str, kind: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    text = f"maximum {name} usage per {kind} is {most}"
    if limit is None:
        yield f"{text}.  No limit is specified"
    elif compare(limit, most) > 0:
        yield f"{text}, but limit is {limit}"
    elif request is not None and compare(request, most) > 0:
        yield f"{text}, but request is {request}"


def too_far_apart(name: str, kind: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = milli(requests.get(name, "0")), milli(limits.get(name, "0"))
    text = f"{name} max limit to request ratio per {kind} is {most}"
    if request == 0:
        yield f"{text}, but no request is specified or request is 0"
    elif limit == 0:
        yield f"{text}, but no limit is specified or limit is 0"
    elif limit * 1000 > milli(most) * request:
        yield f"{text}, but provided ratio is {limit / request:f}"
