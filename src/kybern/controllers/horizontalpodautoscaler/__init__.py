"""HorizontalPodAutoscaler: size whatever can be scaled by what is measured of it, every 15 seconds.

A look asks each metric for a number of replicas (`proposals`, `metrics`, `replicas`), takes the largest, lets the behavior
slow it down (`behavior`), and sets the target's scale. How it went is in the conditions, in upstream's words. A new wish is
looked at at once.

What has no replicas is left alone, for somebody may want it so, unless it was this loop that took the last of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api import quantity
from kybern.api.autoscaling_v1 import Scale, ScaleSpec
from kybern.api.autoscaling_v2 import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus,
    HPAScalingRules,
    MetricStatus,
)
from kybern.api.codec import decode, encode
from kybern.api.core_v1 import Pod
from kybern.api.errors import ApiError, Conflict
from kybern.api.kind import Kind
from kybern.api.selectors import Selector, parse_labels
from kybern.client import Client, View
from kybern.client.discovery import Kinds
from kybern.client.paths import path_of
from kybern.controllers.horizontalpodautoscaler.behavior import (
    EVERY_SECONDS,
    Bounds,
    Memory,
    Past,
    Told,
    decide,
    note_scaling,
    rules_of,
)
from kybern.controllers.horizontalpodautoscaler.metrics import Metrics
from kybern.controllers.horizontalpodautoscaler.proposals import Failed, Proposal, Proposing, Target
from kybern.controllers.horizontalpodautoscaler.replicas import TOLERANCE, Tolerance
from kybern.reconcile import After, Context, Controller, Key
from kybern.registry.autoscalers import told_without_pods

SCALE_TRIES_MAX = 5
UNABLE = "the HPA was unable to compute the replica count: "


TOOK_THE_LAST = Told("True", "ScaledToZero", "the HPA controller scaled the workload to zero")
LEFT_SOME = Told("False", "NotScaledToZero", "the HPA controller did not scale the workload to zero")


class CannotScale(Exception):
    """The target's scale cannot be had; the message is for the user."""


class NoSelector(Exception):
    """The target's pods cannot be told; how the event and the condition say so."""

    def __init__(self, event: str, message: str, told: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.event, self.message, self.told, self.reason = event, message, told, reason or event


def horizontal_pod_autoscaler() -> Controller[HorizontalPodAutoscaler]:
    kinds, memories = Kinds(), defaultdict[Key, Memory](Memory)

    async def reconcile(hpa: HorizontalPodAutoscaler, view: View, client: Client, context: Context) -> After:
        memory = memories[Key.of(hpa)]
        if early := memory.early(hpa, context.monotonic):
            return After(early)
        memory.note_look(hpa, context.monotonic)
        look = Look(hpa, kinds, memories, view, client, context)
        status = await look.scale()
        try:
            if status != hpa.status:
                await client.update_status(replace(hpa, status=status))
        except ApiError as error:
            context.events.event(hpa, "Warning", "FailedUpdateStatus", error.message)
            raise
        return After(EVERY_SECONDS)

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        memories.pop(key, None)

    return Controller(
        name="horizontal-pod-autoscaler",
        component="horizontal-pod-autoscaler",
        reconciles=HorizontalPodAutoscaler,
        reads=(Pod,),
        by=reconcile,
        gone=gone,
    )


class Look:
    """One look at one autoscaler's target and metrics."""

    def __init__(
        self,
        hpa: HorizontalPodAutoscaler,
        kinds: Kinds,
        memories: Mapping[Key, Memory],
        view: View,
        client: Client,
        context: Context,
    ) -> None:
        self.hpa, self.kinds, self.memories, self.memory = hpa, kinds, memories, memories[Key.of(hpa)]
        self.view, self.client, self.context = view, client, context
        self.conditions = {found.type: found for found in hpa.status.conditions or ()}

    async def scale(self) -> HorizontalPodAutoscalerStatus:
        """The target at its right size, as far as that can be known; the status to write."""
        try:
            kind, scale = await self._current()
        except (CannotScale, ApiError) as error:
            self._warn("FailedGetScale", str(error))
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            self._set("AbleToScale", Told("False", "FailedGetScale", message))
            return replace(self.hpa.status, conditions=tuple(self.conditions.values()))
        message = "the HPA controller was able to get the target's current scale"
        self._set("AbleToScale", Told("True", "SucceededGetScale", message))
        if self.memory.scaled is not None:  # the status that said so may not have been written
            self._set("ScaledToZero", self.memory.scaled)
        current, bounds = scale.spec.replicas or 0, bounds_of(self.hpa)
        if (
            not self.memory.recommendations
        ):  # what is there when it is seen first counts as recommended: no hasty shrinking
            self.memory.recommendations = [Past(current, self.context.monotonic)]
        if current == 0:
            if self._has_taken_the_last() and (bounds.least or told_without_pods(self.hpa.spec)):
                return await self._by_metrics(kind, scale, bounds)
            message = "scaling is disabled since the replica count of the target is zero"
            self._set("ScalingActive", Told("False", "ScalingDisabled", message))
            return self._status(current, 0, ())
        if current > bounds.most:
            return await self._rescale(
                kind, scale, bounds.most, "Current number of replicas above Spec.MaxReplicas", ()
            )
        if current < bounds.least:
            why = "Current number of replicas below Spec.MinReplicas"
            return await self._rescale(kind, scale, bounds.least, why, ())
        return await self._by_metrics(kind, scale, bounds)

    async def _current(self) -> tuple[Kind, Scale]:
        ref = self.hpa.spec.scale_target_ref
        await self.kinds.refresh(self.client, self.context.monotonic)
        kind = self.kinds.of(ref)
        if kind is None:
            group = (ref.api_version or "").rpartition("/")[0]
            raise CannotScale(f'no matches for kind "{ref.kind}" in group "{group}"')
        return kind, decode(Scale, await self.client.request("GET", self._path(kind)))

    def _path(self, kind: Kind) -> str:
        return path_of(kind, self.hpa.metadata.namespace or "", self.hpa.spec.scale_target_ref.name, "scale")

    async def _by_metrics(self, kind: Kind, scale: Scale, bounds: Bounds) -> HorizontalPodAutoscalerStatus:
        current = scale.spec.replicas or 0
        selector = self._selector(scale)
        if selector is None:
            return self._status(current, self.hpa.status.desired_replicas, ())
        found = await self._proposals(scale, selector)
        proposals = [one for one in found if isinstance(one, Proposal)]
        failed = [one for one in found if isinstance(one, Failed)]
        shown = tuple(one.status if isinstance(one, Proposal) else MetricStatus() for one in found)
        best = max(proposals, key=lambda one: one.replicas, default=None)
        for one in failed:
            self._warn(one.reason, one.message)
        if best is None or (failed and best.replicas < current):
            self._set("ScalingActive", Told("False", failed[0].reason, UNABLE + failed[0].message))
            said = f"invalid metrics ({len(failed)} invalid out of {len(found)}), first error is: {failed[0].whole}"
            self._warn("FailedComputeMetricsReplicas", said)
            return self._status(current, self.hpa.status.desired_replicas, shown)
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        self._set("ScalingActive", Told("True", "ValidMetricFound", message))
        decision = decide(self.hpa.spec.behavior, self.memory, current, best.replicas, bounds, self.context.monotonic)
        self._set("AbleToScale", decision.able)
        self._set("ScalingLimited", decision.limited)
        if decision.replicas == current:
            return self._status(current, current, shown)
        return await self._rescale(kind, scale, decision.replicas, reason_for(best, current), shown)

    def _has_taken_the_last(self) -> bool:
        found = self.conditions.get("ScaledToZero")
        return found is not None and found.status == "True"

    def _selector(self, scale: Scale) -> Selector | None:
        """None, and a condition that says why, where the target's pods cannot be told, or are another one's too."""
        try:
            selector = self.memory.selector = selector_of(scale)
            sharing = self._sharing(selector)
            if len(sharing) > 1:
                some = " ".join(f"{{{key.name} {key.namespace}}}" for key in sharing[:2])
                whose = f"pods by selector {scale.status.selector} are controlled by more than one HPA"
                raise NoSelector("AmbiguousSelector", f"{whose} (e.g. [{some}])")
        except NoSelector as error:
            self._warn(error.event, error.message)
            self._set("ScalingActive", Told("False", error.reason, error.told or error.message))
            self._warn("FailedComputeMetricsReplicas", error.message)
            return None
        return selector

    def _sharing(self, selector: Selector) -> list[Key]:
        pods = [pod.metadata.labels for pod in self.view.list(Pod, self.hpa.metadata.namespace or "")]
        return sharing_pods(self.memories, Key.of(self.hpa), [labels for labels in pods if selector.matches(labels)])

    async def _proposals(self, scale: Scale, selector: Selector) -> list[Proposal | Failed]:
        namespace = self.hpa.metadata.namespace or ""
        pods = [pod for pod in self.view.list(Pod, namespace) if selector.matches(pod.metadata.labels)]
        target = Target(scale.spec.replicas or 0, scale.status.replicas, scale.status.selector or "", pods)
        metrics = Metrics(self.client, namespace)
        proposing = Proposing(target, metrics, tolerance_of(self.hpa), self.kinds.of, self.context.now)
        return [await proposing.propose(spec) for spec in self.hpa.spec.metrics or ()]

    async def _rescale(
        self, kind: Kind, scale: Scale, size: int, why: str, shown: Sequence[MetricStatus]
    ) -> HorizontalPodAutoscalerStatus:
        current = scale.spec.replicas or 0
        try:
            await self._set_scale(kind, scale, size)
        except ApiError as error:
            self._warn("FailedRescale", f"New size: {size}; reason: {why}; error: {error.message}")
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            self._set("AbleToScale", Told("False", "FailedUpdateScale", message))
            return self._status(current, self.hpa.status.desired_replicas, shown)
        message = f"the HPA controller was able to update the target scale to {size}"
        self._set("AbleToScale", Told("True", "SucceededRescale", message))
        takes_the_last = size == 0 and bounds_of(self.hpa).least == 0 and told_without_pods(self.hpa.spec)
        self.memory.scaled = TOOK_THE_LAST if takes_the_last else LEFT_SOME
        self._set("ScaledToZero", self.memory.scaled)
        self.context.events.event(self.hpa, "Normal", "SuccessfulRescale", f"New size: {size}; reason: {why}")
        note_scaling(self.hpa.spec.behavior, self.memory, current, size, self.context.monotonic)
        return replace(self._status(current, size, shown), last_scale_time=rfc3339(self.context.now))

    async def _set_scale(self, kind: Kind, scale: Scale, size: int) -> None:
        """Whatever else of the target was changed meanwhile."""
        for _ in range(SCALE_TRIES_MAX - 1):
            try:
                await self._put(kind, scale, size)
                return
            except Conflict:
                scale = decode(Scale, await self.client.request("GET", self._path(kind)))
        await self._put(kind, scale, size)

    async def _put(self, kind: Kind, scale: Scale, size: int) -> None:
        await self.client.request("PUT", self._path(kind), "", encode(replace(scale, spec=ScaleSpec(replicas=size))))

    def _status(self, current: int, desired: int, shown: Sequence[MetricStatus]) -> HorizontalPodAutoscalerStatus:
        return HorizontalPodAutoscalerStatus(
            observed_generation=self.hpa.metadata.generation,
            current_replicas=current,
            desired_replicas=desired,
            last_scale_time=self.hpa.status.last_scale_time,
            current_metrics=tuple(shown) or None,
            conditions=tuple(self.conditions.values()),
        )

    def _set(self, type: str, told: Told) -> None:
        before = self.conditions.get(type)
        same = before is not None and before.status == told.status
        self.conditions[type] = HorizontalPodAutoscalerCondition(
            type=type,
            status=told.status,
            reason=told.reason,
            message=told.message,
            last_transition_time=before.last_transition_time if before and same else rfc3339(self.context.now),
        )

    def _warn(self, reason: str, message: str) -> None:
        self.context.events.event(self.hpa, "Warning", reason, message)


def reason_for(best: Proposal, current: int) -> str:
    """Why it is scaled, as the event says."""
    if best.replicas > current:
        return f"{best.name} above target"
    if best.replicas < current:
        return "All metrics below target"
    return "" if current else "Current number of replicas below Spec.MinReplicas"


def selector_of(scale: Scale) -> Selector:
    if not scale.status.selector:
        missing = "the HPA target's scale is missing a selector"
        raise NoSelector("SelectorRequired", "selector is required", missing, "InvalidSelector")
    try:
        return parse_labels(scale.status.selector)
    except ValueError as error:
        message = f"couldn't convert selector into a corresponding internal selector object: {error}"
        raise NoSelector("InvalidSelector", message) from error


def sharing_pods(memories: Mapping[Key, Memory], own: Key, pods: Sequence[Mapping[str, str] | None]) -> list[Key]:
    """The autoscalers of a namespace that some of these pods, by their labels, belong to."""
    return sorted(
        key
        for key, memory in memories.items()
        if key.namespace == own.namespace and memory.selector is not None and any(map(memory.selector.matches, pods))
    )


def bounds_of(hpa: HorizontalPodAutoscaler) -> Bounds:
    return Bounds(1 if hpa.spec.min_replicas is None else hpa.spec.min_replicas, hpa.spec.max_replicas)


def tolerance_of(hpa: HorizontalPodAutoscaler) -> Tolerance:
    def share(rules: HPAScalingRules) -> float:
        return TOLERANCE if rules.tolerance is None else quantity.milli(rules.tolerance) / 1000

    up, down = rules_of(hpa.spec.behavior)
    return Tolerance(down=share(down), up=share(up))
