"""May this pod be evicted? Its PodDisruptionBudget says how many more may go, and takes note of each that does.

A pod that runs no more, or not yet, costs nobody anything, and is let go whatever its budget says.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.api.errors import About, ApiError, InternalError, TooManyRequests, forbidden
from kybern.api.meta_v1 import Condition, StatusCause
from kybern.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetStatus
from kybern.api.selectors import of_label_selector

RETRY_SECONDS = 10
DISRUPTED_PODS_MAX = 2000
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."
MORE_THAN_ONE = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


def is_free(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed", "Pending") or pod.metadata.deletion_timestamp is not None


def budget_of(pod: Pod, budgets: Iterable[PodDisruptionBudget]) -> PodDisruptionBudget | None:
    found = [one for one in budgets if of_label_selector(one.spec.selector).matches(pod.metadata.labels)]
    if len(found) > 1:
        raise InternalError(MORE_THAN_ONE)
    return found[0] if found else None


def is_ready(pod: Pod) -> bool:
    return any(found.type == "Ready" and found.status == "True" for found in pod.status.conditions or ())


def costs_nothing(pod: Pod, budget: PodDisruptionBudget) -> bool:
    """A pod that is not ready: always, or as long as enough others are."""
    if is_ready(pod):
        return False
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    desired = budget.status.desired_healthy or 0
    return (budget.status.current_healthy or 0) >= desired > 0


def spent(budget: PodDisruptionBudget, pod_name: str, now: str) -> PodDisruptionBudget:
    """The budget after this eviction; ApiError where nothing is left of it."""
    status, name = budget.status, budget.metadata.name
    allowed = status.disruptions_allowed or 0
    if (status.observed_generation or 0) < (budget.metadata.generation or 0):
        raise refusal(f"The disruption budget {name} is still being processed by the server.", RETRY_SECONDS)
    if allowed < 0:
        raise unusable(budget, "NegativeAllowedDisruptions", "pdb disruptions allowed is negative")
    if len(status.disrupted_pods or {}) > DISRUPTED_PODS_MAX:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise unusable(budget, "TooManyDisruptedPods", why)
    if not allowed:
        raise refusal(f"The disruption budget {name} {why_used_up(status)}")
    disrupted = {**(status.disrupted_pods or {}), pod_name: now}
    conditions = status.conditions if allowed > 1 else exhausted(budget, now)
    return replace(
        budget,
        status=replace(status, disruptions_allowed=allowed - 1, disrupted_pods=disrupted, conditions=conditions),
    )


def unusable(budget: PodDisruptionBudget, cause: str, why: str) -> ApiError:
    """The budget says what makes no sense."""
    error = forbidden(About(resource="poddisruptionbudget", group="policy", name=budget.metadata.name or ""), why)
    error.causes = (StatusCause(reason=f"DisruptionBudget{cause}", message=why),)
    return error


def why_used_up(status: PodDisruptionBudgetStatus) -> str:
    """Of a budget that could not be counted the numbers say nothing."""
    healthy, needed = status.current_healthy or 0, status.desired_healthy or 0
    allowed = (found for found in status.conditions or () if found.type == "DisruptionAllowed")
    told = next((found for found in allowed if found.status == "False" and found.message), None)
    if told is not None and told.reason == "SyncFailed":
        return f"does not allow evicting pods currently because it failed sync: {told.message}"
    if healthy <= needed:
        return f"needs {needed} healthy pods and has {healthy} currently"
    because = f" ({told.reason}): {told.message}" if told is not None else ""
    return f"does not allow evicting pods currently{because}"


def refusal(why: str, retry_seconds: int | None = None) -> ApiError:
    """`retry_seconds` only where waiting helps by itself: clients that are told to wait do so, and say nothing meanwhile."""
    cause = StatusCause(reason="DisruptionBudget", message=why)
    return TooManyRequests(VIOLATION, causes=(cause,), retry_after_seconds=retry_seconds)


def exhausted(budget: PodDisruptionBudget, now: str) -> tuple[Condition, ...]:
    others = tuple(found for found in budget.status.conditions or () if found.type != "DisruptionAllowed")
    none_left = Condition(
        type="DisruptionAllowed",
        status="False",
        reason="InsufficientPods",
        observed_generation=budget.status.observed_generation,
        last_transition_time=now,
    )
    return (*others, none_left)
