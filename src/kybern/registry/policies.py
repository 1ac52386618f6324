"""poddisruptionbudgets, priorityclasses, runtimeclasses: how pods are kept, ranked and run."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import ResourceRequirements
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported
from kybern.api.node_v1 import RuntimeClass
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.api.scheduling_v1 import PriorityClass
from kybern.registry.checks import immutable, int_or_percent, label_selector, labels, not_above_all, repeated
from kybern.registry.columns import AGE, NAME
from kybern.registry.conditions import validate_conditions
from kybern.registry.defaulting import filled
from kybern.registry.node_labels import NODE_LABELS
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.podspec.amounts import validate_resources
from kybern.registry.podspec.placement import validate_tolerations
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import Counts

USER_PRIORITY_MAX = 1_000_000_000
SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")


def validate_budget(budget: PodDisruptionBudget) -> Iterator[FieldError]:
    spec = budget.spec
    if spec.min_available is not None and spec.max_unavailable is not None:
        yield invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", spec.min_available), ("maxUnavailable", spec.max_unavailable)):
        if value is not None:
            yield from int_or_percent(f"spec.{field}", value)
            yield from not_above_all(f"spec.{field}", value)
    yield from label_selector(spec.selector, "spec.selector")
    policy = spec.unhealthy_pod_eviction_policy
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        yield not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


def or_not_applicable(value: int | str | None) -> str:
    return "N/A" if value is None else str(value)


BUDGET_COUNTS = Counts(
    (
        ("disruptionsAllowed", "disruptions_allowed"), ("currentHealthy", "current_healthy"),
        ("desiredHealthy", "desired_healthy"), ("expectedPods", "expected_pods"),
    )
)  # fmt: skip


def validate_budget_status(budget: PodDisruptionBudget, old: PodDisruptionBudget) -> Iterator[FieldError]:
    yield from validate_conditions(budget.status.conditions or (), "status.conditions")
    yield from BUDGET_COUNTS(budget, old)


POD_DISRUPTION_BUDGETS = Resource(
    kind=kind_of(PodDisruptionBudget),
    version_needed=True,
    short_names=("pdb",),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_budget,
    generation=spec_of,
    subresources=(status(validate=validate_budget_status),),
    columns=(
        NAME,
        Column(
            "Min Available",
            lambda budget, now: or_not_applicable(budget.spec.min_available),
            description="The minimum number of pods that must be available.",
        ),
        Column(
            "Max Unavailable",
            lambda budget, now: or_not_applicable(budget.spec.max_unavailable),
            description="The maximum number of pods that may be unavailable.",
        ),
        Column(
            "Allowed Disruptions",
            lambda budget, now: budget.status.disruptions_allowed or 0,
            type="integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
)


# --- priorityclasses --------------------------------------------------------------------------------------------------


def validate_priority(found: PriorityClass) -> Iterator[FieldError]:
    name, value = found.metadata.name or "", found.value or 0
    if name.startswith("system-"):
        if name not in SYSTEM_CLASSES:
            why = (
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            yield forbidden_field("metadata.name", why)
    elif value > USER_PRIORITY_MAX:
        why = f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"
        yield forbidden_field("value", why)
    if found.preemption_policy not in (None, "Never", "PreemptLowerPriority"):
        yield not_supported("preemptionPolicy", found.preemption_policy, ("PreemptLowerPriority", "Never"))


def validate_priority_update(found: PriorityClass, old: PriorityClass) -> Iterator[FieldError]:
    if (found.value or 0) != (old.value or 0):
        yield forbidden_field("value", "may not be changed in an update.")
    yield from immutable("preemptionPolicy", found.preemption_policy, old.preemption_policy)


PRIORITY_CLASSES = Resource(
    kind=kind_of(PriorityClass),
    short_names=("pc",),
    default=lambda found: filled(found, preemption_policy="PreemptLowerPriority"),
    validate=validate_priority,
    validate_update=validate_priority_update,
    generation=lambda found: (found.value, found.global_default, found.description, found.preemption_policy),
    columns=(
        NAME,
        Column("Value", lambda found, now: found.value or 0, type="integer", of="scheduling_v1.PriorityClass.value"),
        Column(
            "Global-Default",
            lambda found, now: bool(found.global_default),
            type="boolean",
            of="scheduling_v1.PriorityClass.globalDefault",
        ),
        AGE,
        Column(
            "PreemptionPolicy",
            lambda found, now: found.preemption_policy or "",
            of="scheduling_v1.PriorityClass.preemptionPolicy",
        ),
    ),
)


# --- runtimeclasses ---------------------------------------------------------------------------------------------------


def validate_runtime(found: RuntimeClass) -> Iterator[FieldError]:
    for wrong in names.dns1123_label(found.handler):
        yield invalid_value("handler", found.handler, wrong)
    if found.overhead is not None:
        yield from validate_resources(ResourceRequirements(limits=found.overhead.pod_fixed), "overhead")
    if found.scheduling is None:
        return
    yield from labels((found.scheduling.node_selector or {}).items(), "scheduling.nodeSelector")
    tolerations = found.scheduling.tolerations or ()
    yield from validate_tolerations(tolerations, "scheduling.tolerations")
    for index in sorted(repeated(tolerations)):
        yield duplicate(f"scheduling.tolerations[{index}]", tolerations[index])


def validate_runtime_update(found: RuntimeClass, old: RuntimeClass) -> Iterator[FieldError]:
    yield from validate_runtime(found)
    yield from immutable("handler", found.handler, old.handler)


def runtime_warnings(found: RuntimeClass, old: RuntimeClass | None) -> Iterator[str]:
    for label in (found.scheduling.node_selector or {}) if found.scheduling is not None else ():
        if label in NODE_LABELS:
            yield f"scheduling.nodeSelector: {NODE_LABELS[label]}"


RUNTIME_CLASSES = Resource(
    kind=kind_of(RuntimeClass),
    version_needed=True,
    create_on_update=True,
    validate=validate_runtime,
    validate_update=validate_runtime_update,
    warnings=runtime_warnings,
    columns=(NAME, Column("Handler", lambda found, now: found.handler), AGE),
)
