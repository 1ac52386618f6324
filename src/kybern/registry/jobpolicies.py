"""Rules on a job's pod failure policy: which pods' ends count, by exit codes or by conditions."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.batch_v1 import JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule
from kybern.api.invalid import FieldError, invalid_value, not_supported, required
from kybern.registry.checks import judged

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")


def validate_failure_policy(spec: JobSpec, at: str) -> Iterator[FieldError]:
    policy = spec.pod_failure_policy
    for index, rule in enumerate(policy.rules if policy is not None else ()):
        yield from validate_rule(rule, spec, f"{at}.podFailurePolicy.rules[{index}]")


def validate_rule(rule: PodFailurePolicyRule, spec: JobSpec, at: str) -> Iterator[FieldError]:
    yield from chosen(f"{at}.action", rule.action, ACTIONS)
    if rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
        yield invalid_value(f"{at}.action", rule.action, "requires the backoffLimitPerIndex to be set")
    if rule.on_exit_codes is not None:
        yield from validate_exit_codes(rule.on_exit_codes, spec, f"{at}.onExitCodes")
    for index, pattern in enumerate(rule.on_pod_conditions or ()):
        here = f"{at}.onPodConditions[{index}]"
        yield from judged(f"{here}.type", pattern.type, names.qualified_name)
        yield from chosen(f"{here}.status", pattern.status or "", STATUSES)


def validate_exit_codes(found: PodFailurePolicyOnExitCodesRequirement, spec: JobSpec, at: str) -> Iterator[FieldError]:
    yield from chosen(f"{at}.operator", found.operator, OPERATORS)
    pod = spec.template.spec
    if found.container_name is not None:
        known = {container.name for container in (*pod.containers, *(pod.init_containers or ()))}
        if found.container_name not in known:
            why = "must be one of the container or initContainer names in the pod template"
            yield invalid_value(f"{at}.containerName", found.container_name, why)
    if not found.values:
        yield invalid_value(f"{at}.values", found.values, "at least one value is required")
    if list(found.values) != sorted(found.values):
        yield invalid_value(f"{at}.values", found.values, "must be ordered")
    for index, code in enumerate(found.values):
        if code == 0 and found.operator == "In":
            yield invalid_value(f"{at}.values[{index}]", code, "must not be 0 for the In operator")


def chosen(at: str, value: str, choices: tuple[str, ...]) -> Iterator[FieldError]:
    """One of a few, in the words that only job policies use."""
    if not value:
        listed = " ".join(f'"{choice}"' for choice in choices)
        yield required(at, f"valid values: [{listed}]")
    elif value not in choices:
        yield not_supported(at, value, choices)
