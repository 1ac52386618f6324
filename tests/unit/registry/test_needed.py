"""What an object cannot do without, and what it may not be, in upstream's words: one field of a valid object spoilt at a time."""

from typing import Any

import pytest
from spoilt import spoilt

RULE = "spec.podFailurePolicy.rules.0"
AT_RULE = "spec.podFailurePolicy.rules[0]"

# (kind, place, value or None to leave out, what is said)
CASES: list[tuple[str, str, Any, str]] = [
    ("LimitRange", "spec.limits.0.type", "Thing", 'spec.limits[0].type: Invalid value: "Thing": must be a standard limit type or fully qualified'),
    ("LimitRange", "spec.limits.0.type", "example.com/Thing", ""),
    ("ResourceQuota", "spec.scopeSelector.matchExpressions.0.scopeName", "x", 'spec.scopeSelector.matchExpressions.scopeName: Invalid value: "x": unsupported scope'),
    ("ResourceQuota", "spec.scopeSelector.matchExpressions.0.operator", "x", 'spec.scopeSelector.matchExpressions.operator: Invalid value: "x": not a valid selector operator'),
    ("ResourceQuota", "spec.scopeSelector.matchExpressions.0.values", [], "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"),
    ("ResourceQuota", "spec.scopeSelector.matchExpressions.0.operator", "Exists", 'spec.scopeSelector.matchExpressions.values: Invalid value: ["high"]: must be no value when `operator` is \'Exist\' or \'DoesNotExist\' for scope selector'),
    ("autoscaling/v2/HorizontalPodAutoscaler", "spec.metrics.0.resource.name", None, "spec.metrics[0].resource.name: Required value: must specify a resource name"),
    ("autoscaling/v2/HorizontalPodAutoscaler", "spec.metrics.1.pods.metric.name", None, "spec.metrics[1].pods.metric.name: Required value: must specify a metric name"),
    ("IngressClass", "spec.parameters.kind", None, "spec.parameters.kind: Required value"),
    ("IngressClass", "spec.parameters.name", None, "spec.parameters.name: Required value"),
    ("IngressClass", "spec.parameters.namespace", None, "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
    ("IngressClass", "spec.parameters.scope", "Cluster", "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"),
    ("IngressClass", "spec.parameters.scope", "x", 'spec.parameters.scope: Unsupported value: "x": supported values: "Cluster", "Namespace"'),
    ("StorageClass", "allowedTopologies.0.matchLabelExpressions.0.values", [], "allowedTopologies[0].matchLabelExpressions[0].values: Required value"),
    ("Job", f"{RULE}.action", None, f'{AT_RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'),
    ("Job", f"{RULE}.action", "x", f'{AT_RULE}.action: Unsupported value: "x": supported values: "Count", "FailIndex", "FailJob", "Ignore"'),
    ("Job", f"{RULE}.onExitCodes.operator", None, f'{AT_RULE}.onExitCodes.operator: Required value: valid values: ["In" "NotIn"]'),
    ("Job", f"{RULE}.onExitCodes.values", [], f"{AT_RULE}.onExitCodes.values: Invalid value: []: at least one value is required"),
    ("Job", f"{RULE}.onExitCodes.values", [2, 1], f"{AT_RULE}.onExitCodes.values: Invalid value: [2,1]: must be ordered"),
    ("Job", f"{RULE}.onExitCodes.values", [0, 1], f"{AT_RULE}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
    ("Job", f"{RULE}.onExitCodes.containerName", "x", f'{AT_RULE}.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template'),
    ("FlowSchema", "spec.rules.0.subjects.0.user.name", None, "spec.rules[0].subjects[0].user.name: Required value"),
    ("FlowSchema", "spec.rules.0.resourceRules.0.verbs", [], "spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value"),
    ("FlowSchema", "spec.rules.0.resourceRules.0.apiGroups", [], "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group"),
    ("FlowSchema", "spec.rules.0.nonResourceRules.0.nonResourceURLs", [], "spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value"),
    ("StorageVersionMigration", "spec.resource.resource", None, "spec.resource.resource: Required value: resource is required to be set"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "place", "value", "said"), CASES)
def test_what_is_spoilt_is_named(name: str, place: str, value: Any, said: str) -> None:
    assert spoilt(name, {place: value}) == ([said] if said else [])
