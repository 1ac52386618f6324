"""A job's policies: which pods' ends count as failures, and how many indexes that succeed are enough."""

import re
from collections.abc import Iterator

from kybern.api import names
from kybern.api.batch_v1 import JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_long, too_many
from kybern.api.numbers import integer
from kybern.registry.checks import at_most, judged, not_negative, repeated

RULES_MAX = 20
PATTERNS_MAX = 20
EXIT_CODES_MAX = 255
INDEXES_BYTES_MAX = 64 * 1024
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
SPAN = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")


def validate_failure_policy(spec: JobSpec, at: str) -> Iterator[FieldError]:
    policy = spec.pod_failure_policy
    if policy is not None and len(policy.rules) > RULES_MAX:
        yield too_many(f"{at}.podFailurePolicy.rules", len(policy.rules), RULES_MAX)
        return
    for index, rule in enumerate(policy.rules if policy is not None else ()):
        yield from validate_rule(rule, spec, f"{at}.podFailurePolicy.rules[{index}]")


def validate_rule(rule: PodFailurePolicyRule, spec: JobSpec, at: str) -> Iterator[FieldError]:
    yield from chosen(f"{at}.action", rule.action, ACTIONS)
    if rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
        yield invalid_value(f"{at}.action", rule.action, "requires the backoffLimitPerIndex to be set")
    if rule.on_exit_codes is not None and rule.on_pod_conditions:
        yield without_value(at, "specifying both OnExitCodes and OnPodConditions is not supported")
    if rule.on_exit_codes is None and not rule.on_pod_conditions:
        yield without_value(at, "specifying one of OnExitCodes and OnPodConditions is required")
    yield from at_most(f"{at}.onPodConditions", rule.on_pod_conditions or (), PATTERNS_MAX)
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
    elif len(found.values) > EXIT_CODES_MAX:
        yield too_many(f"{at}.values", len(found.values), EXIT_CODES_MAX)
    if list(found.values) != sorted(found.values):
        yield invalid_value(f"{at}.values", found.values, "must be ordered")
    again = repeated(found.values)
    for index, code in enumerate(found.values):
        if index in again:
            yield duplicate(f"{at}.values[{index}]", code)
        if code == 0 and found.operator == "In":
            yield invalid_value(f"{at}.values[{index}]", code, "must not be 0 for the In operator")


def without_value(at: str, why: str) -> FieldError:
    return FieldError(at, "FieldValueInvalid", f"Invalid value: {why}")


def validate_success_policy(spec: JobSpec, at: str) -> Iterator[FieldError]:
    policy = spec.success_policy
    if policy is None:
        return
    if spec.completion_mode != "Indexed":
        yield invalid_value(at, policy, "requires indexed completion mode")
        return
    if not policy.rules:
        yield required(f"{at}.rules", "at least one rules must be specified when the successPolicy is specified")
    for index, rule in enumerate(policy.rules[:RULES_MAX]):
        yield from validate_success_rule(rule, spec.completions or 0, f"{at}.rules[{index}]")
    yield from at_most(f"{at}.rules", policy.rules, RULES_MAX)


def validate_success_rule(rule: SuccessPolicyRule, completions: int, at: str) -> Iterator[FieldError]:
    count, indexes = rule.succeeded_count, rule.succeeded_indexes
    if count is None and indexes is None:
        yield required(at, "at least one of succeededCount or succeededIndexes must be specified")
    total = 0
    if indexes is not None:
        if len(indexes) > INDEXES_BYTES_MAX:
            yield too_long(f"{at}.succeededIndexes", indexes, INDEXES_BYTES_MAX)
        try:
            total = counted(indexes, completions)
        except ValueError as error:
            yield invalid_value(f"{at}.succeededIndexes", indexes, f"error parsing succeededIndexes: {error}")
    if count is None:
        return
    yield from not_negative(f"{at}.succeededCount", count)
    if count > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        yield invalid_value(f"{at}.succeededCount", count, why)
    if indexes is not None and count > total:
        why = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        yield invalid_value(f"{at}.succeededCount", count, why)


def counted(text: str, completions: int) -> int:
    """How many indexes `0,2-4` names, in rising order and all beneath the completions."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            raise ValueError(
                f'the fragment "{part}" violates the requirement that an index interval can have '
                "at most two parts separated by '-'"
            )
        for end in ends:
            index = integer(end)
            if index is None:
                raise ValueError(f'cannot convert string to integer for index: "{end}"')
            if last >= index:
                raise ValueError(f"non-increasing order, previous: {last}, current: {index}")
            if index >= completions:
                raise ValueError(f'too large index: "{end}"')
            last = index
        total += last - int(ends[0]) + 1
    return total


def first_common(one: str, other: str) -> int | None:
    """The first index that two such texts share; what is not well-formed in them is not looked at."""
    left, right = spans(one), spans(other)
    here, there = next(left, None), next(right, None)
    while here is not None and there is not None:
        if here[0] <= there[1] and there[0] <= here[1]:
            return max(here[0], there[0])
        if here[0] <= there[0]:
            here = next(left, None)
        else:
            there = next(right, None)
    return None


def spans(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        found = SPAN.fullmatch(part)
        if found is not None:
            yield int(found[1]), int(found[2] or found[1])


def chosen(at: str, value: str, choices: tuple[str, ...]) -> Iterator[FieldError]:
    """One of a few, in the words that only job policies use."""
    if not value:
        listed = " ".join(f'"{choice}"' for choice in choices)
        yield required(at, f"valid values: [{listed}]")
    elif value not in choices:
        yield not_supported(at, value, choices)
