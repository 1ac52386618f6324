"""HorizontalPodAutoscaler: size whatever can be scaled by what is measured of it, every 15 seconds.

A look asks each metric for a number of replicas (`proposals`, `metrics`, `replicas`), takes the largest, lets the behavior
slow it down (`behavior`), and sets the target's scale. How it went is in the conditions, in upstream's words.
"""

from collections import defaultdict
from collections.abc import Sequence

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
from kybern.api.errors import ApiError
from kybern.api.kind import Kind
from kybern.api.selectors import Selector, parse_labels
from kybern.client import Client, View
from kybern.client.discovery import Kinds
from kybern.client.paths import path_of
from kybern.controllers.horizontalpodautoscaler.behavior import Bounds, Memory, Told, decide, note_scaling, rules_of
from kybern.controllers.horizontalpodautoscaler.metrics import Metrics
from kybern.controllers.horizontalpodautoscaler.proposals import Failed, Proposal, Proposing, Target
from kybern.controllers.horizontalpodautoscaler.replicas import TOLERANCE, Tolerance
from kybern.reconcile import After, Context, Controller, Key

EVERY_SECONDS = 15.0
UNABLE = "the HPA was unable to compute the replica count: "


class CannotScale(Exception):
    """The target's scale cannot be had; the message is for the user."""


def horizontal_pod_autoscaler() -> Controller[HorizontalPodAutoscaler]:
    kinds, memories = Kinds(), defaultdict[Key, Memory](Memory)

    async def reconcile(hpa: HorizontalPodAutoscaler, view: View, client: Client, context: Context) -> After:
        look = Look(hpa, kinds, memories[Key.of(hpa)], view, client, context)
        status = await look.scale()
        if status != hpa.status:
            await client.update_status(replace(hpa, status=status))
        return After(EVERY_SECONDS)

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        memories.pop(key, None)

    return Controller(
        name="horizontal-pod-autoscaler",
        component="horizontal-pod-autoscaler",
        reconciles=HorizontalPodAutoscaler,
        reads=(Pod,),
        rest_seconds=EVERY_SECONDS,
        by=reconcile,
        gone=gone,
    )


class Look:
    """One look at one autoscaler's target and metrics."""

    def __init__(
        self, hpa: HorizontalPodAutoscaler, kinds: Kinds, memory: Memory, view: View, client: Client, context: Context
    ) -> None:
        self.hpa, self.kinds, self.memory = hpa, kinds, memory
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
        current, bounds = scale.spec.replicas or 0, bounds_of(self.hpa)
        if current == 0 and bounds.least != 0:
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
        await self.kinds.refresh(self.client, self.context.now)
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
            return self._status(current, self.hpa.status.desired_replicas, self.hpa.status.current_metrics or ())
        found = await self._proposals(scale, selector)
        proposals = [one for one in found if isinstance(one, Proposal)]
        failed = [one for one in found if isinstance(one, Failed)]
        shown = tuple(one.status for one in proposals)
        best = max(proposals, key=lambda one: one.replicas, default=None)
        if failed:
            self._tell_failed(failed, len(found))
        if best is None or (failed and best.replicas < current):
            self._set("ScalingActive", Told("False", failed[0].reason, UNABLE + failed[0].message))
            return self._status(current, self.hpa.status.desired_replicas, shown)
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        self._set("ScalingActive", Told("True", "ValidMetricFound", message))
        decision = decide(self.hpa.spec.behavior, self.memory, current, best.replicas, bounds, self.context.now)
        self._set("AbleToScale", decision.able)
        self._set("ScalingLimited", decision.limited)
        if decision.replicas == current:
            return self._status(current, current, shown)
        why = f"{best.name} above target" if best.replicas > current else "All metrics below target"
        return await self._rescale(kind, scale, decision.replicas, why, shown)

    def _selector(self, scale: Scale) -> Selector | None:
        """None, and a condition that says why, where the target's pods cannot be told."""
        if not scale.status.selector:
            self._warn("SelectorRequired", "selector is required")
            self._set("ScalingActive", Told("False", "InvalidSelector", "the HPA target's scale is missing a selector"))
            return None
        try:
            return parse_labels(scale.status.selector)
        except ValueError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            self._warn("InvalidSelector", message)
            self._set("ScalingActive", Told("False", "InvalidSelector", message))
            return None

    async def _proposals(self, scale: Scale, selector: Selector) -> list[Proposal | Failed]:
        namespace = self.hpa.metadata.namespace or ""
        pods = [pod for pod in self.view.list(Pod, namespace) if selector.matches(pod.metadata.labels)]
        target = Target(scale.spec.replicas or 0, scale.status.replicas, scale.status.selector or "", pods)
        metrics = Metrics(self.client, namespace)
        proposing = Proposing(target, metrics, tolerance_of(self.hpa), self.kinds.of, self.context.now)
        return [await proposing.propose(spec) for spec in self.hpa.spec.metrics or ()]

    def _tell_failed(self, failed: Sequence[Failed], total: int) -> None:
        for one in failed:
            self._warn(one.reason, one.message)
        said = f"invalid metrics ({len(failed)} invalid out of {total}), first error is: {failed[0].whole}"
        self._warn("FailedComputeMetricsReplicas", said)

    async def _rescale(
        self, kind: Kind, scale: Scale, size: int, why: str, shown: Sequence[MetricStatus]
    ) -> HorizontalPodAutoscalerStatus:
        current = scale.spec.replicas or 0
        try:
            await self.client.request(
                "PUT", self._path(kind), "", encode(replace(scale, spec=ScaleSpec(replicas=size)))
            )
        except ApiError as error:
            self._warn("FailedRescale", f"New size: {size}; reason: {why}; error: {error.message}")
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            self._set("AbleToScale", Told("False", "FailedUpdateScale", message))
            return self._status(current, self.hpa.status.desired_replicas, shown)
        message = f"the HPA controller was able to update the target scale to {size}"
        self._set("AbleToScale", Told("True", "SucceededRescale", message))
        self.context.events.event(self.hpa, "Normal", "SuccessfulRescale", f"New size: {size}; reason: {why}")
        note_scaling(self.hpa.spec.behavior, self.memory, current, size, self.context.now)
        return replace(self._status(current, size, shown), last_scale_time=rfc3339(self.context.now))

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


def bounds_of(hpa: HorizontalPodAutoscaler) -> Bounds:
    return Bounds(1 if hpa.spec.min_replicas is None else hpa.spec.min_replicas, hpa.spec.max_replicas)


def tolerance_of(hpa: HorizontalPodAutoscaler) -> Tolerance:
    def share(rules: HPAScalingRules) -> float:
        return TOLERANCE if rules.tolerance is None else quantity.milli(rules.tolerance) / 1000

    up, down = rules_of(hpa.spec.behavior)
    return Tolerance(down=share(down), up=share(up))
