"""What a failed pod means for its Job: the pod failure policy, whose first rule that fits decides."""

from kybern.api.batch_v1 import Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule
from kybern.api.core_v1 import ContainerStatus, Pod

COUNT, IGNORE, FAIL_JOB, FAIL_INDEX = "Count", "Ignore", "FailJob", "FailIndex"


def action_for(job: Job, pod: Pod) -> str:
    found = rule_for(job, pod)
    return COUNT if found is None else found[1].action


def rule_for(job: Job, pod: Pod) -> tuple[int, PodFailurePolicyRule] | None:
    policy = job.spec.pod_failure_policy
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        if fits(rule, pod):
            return number, rule
    return None


def fits(rule: PodFailurePolicyRule, pod: Pod) -> bool:
    if rule.on_exit_codes is not None:
        return container_fitting(rule.on_exit_codes, pod) is not None
    wanted = [(pattern.type, pattern.status or "True") for pattern in rule.on_pod_conditions or ()]
    known = {(found.type, found.status) for found in pod.status.conditions or ()}
    return any(pattern in known for pattern in wanted)


def container_fitting(requirement: PodFailurePolicyOnExitCodesRequirement, pod: Pod) -> ContainerStatus | None:
    statuses = (*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ()))
    for status in statuses:
        if requirement.container_name not in (None, status.name):
            continue
        ended = status.state.terminated if status.state is not None else None
        if ended is None or ended.exit_code == 0:
            continue
        if (ended.exit_code in requirement.values) == (requirement.operator == "In"):
            return status
    return None


def message_for(job: Job, pod: Pod) -> str:
    """Why this pod fails the whole Job, in upstream's words."""
    found = rule_for(job, pod)
    if found is None:
        return ""
    number, rule = found
    named = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if rule.on_exit_codes is not None:
        status = container_fitting(rule.on_exit_codes, pod)
        ended = status.state.terminated if status is not None and status.state is not None else None
        code = ended.exit_code if ended is not None else 0
        name = status.name if status is not None else ""
        return f"Container {name} for pod {named} failed with exit code {code} matching {rule.action} rule at index {number}"
    for pattern in rule.on_pod_conditions or ():
        return f"Pod {named} has condition {pattern.type} matching {rule.action} rule at index {number}"
    return ""
