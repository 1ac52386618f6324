"""PodSecurity: a namespace's labels say how much its pods may ask of the machine: privileged, baseline or restricted.

- `pod-security.kubernetes.io/enforce` refuses, `/warn` warns the author, `/audit` notes it for the audit log; each may
  name another level, and the version of the standard that it means (`podsecurity.policy`).
- Pods are checked; of what makes pods later (a Deployment, say) it is only said.
- A namespace whose labels make no sense is refused; one that enforces more than before is told which pods it has that
  would not come in again.
- A configuration may set the policy where a namespace says nothing, and exempt namespaces, users and runtime classes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kybern.api.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from kybern.api.batch_v1 import CronJob, Job
from kybern.api.core_v1 import Container, Namespace, Pod, PodSpec, PodTemplate, ReplicationController
from kybern.api.errors import About, invalid
from kybern.apiserver.admission.plugin import Inputs, Plugin, joined, refused
from kybern.apiserver.admission.podsecurity.configuration import configured
from kybern.apiserver.admission.podsecurity.existing import warnings_about
from kybern.apiserver.admission.podsecurity.judging import Annotations, Violation
from kybern.apiserver.admission.podsecurity.policy import (
    FREE,
    MODES,
    PREFIX,
    Policy,
    Standard,
    policy_of,
    problems,
    stricter,
)
from kybern.apiserver.admission.podsecurity.standards import violations
from kybern.apiserver.request import Admission
from kybern.registry.podspec.annotations import SECCOMP_CONTAINER

EVALUATED_PARTS = ("", "ephemeralcontainers", "resize")


class PodSecurity(Plugin):
    name = "PodSecurity"
    kinds = (
        Pod, Namespace, ReplicationController, PodTemplate, ReplicaSet, Deployment, StatefulSet, DaemonSet, Job, CronJob,
    )  # fmt: skip

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        configuration = configured(inputs.configuration.get(self.name, {}))
        self.defaults, self.exempt = configuration.policy, configuration.exemptions

    async def validate(self, admission: Admission) -> None:
        if admission.operation not in ("CREATE", "UPDATE"):
            return
        if isinstance(admission.object, Namespace):
            await self.judge_namespace(admission)
        elif isinstance(admission.object, Pod):
            if admission.subresource in EVALUATED_PARTS:
                self.judge(admission, is_pod=True)
        elif not admission.subresource:
            self.judge(admission, is_pod=False)

    # --- pods, and what makes them ------------------------------------------------------------------------------------

    def judge(self, admission: Admission, *, is_pod: bool) -> None:
        if why := self.exempts(admission):
            admission.audit[f"{PREFIX}exempt"] = why
            return
        namespace = self.objects.get(Namespace, admission.namespace)
        labels = (namespace.metadata.labels or {}) if namespace else {}
        policy, wrong = policy_of(labels, self.defaults), list(problems(labels))
        if not wrong and policy.is_free:
            if is_pod:
                admission.audit[f"{PREFIX}enforce-policy"] = str(Standard())
            return
        spec, annotations = spec_of(admission.object)
        if spec is None or (is_pod and not is_significant(admission.object, admission.old)):
            return
        if spec.runtime_class_name and spec.runtime_class_name in self.exempt.runtime_classes:
            admission.audit[f"{PREFIX}exempt"] = "runtimeClass"
            return
        if wrong:
            admission.audit[f"{PREFIX}error"] = f"Failed to parse policy: {joined([str(error) for error in wrong])}"
        evaluate(admission, policy, spec, annotations, is_pod=is_pod)

    def exempts(self, admission: Admission) -> str:
        if admission.namespace in self.exempt.namespaces:
            return "namespace"
        return "user" if admission.user.name in self.exempt.usernames else ""

    # --- namespaces ---------------------------------------------------------------------------------------------------

    async def judge_namespace(self, admission: Admission) -> None:
        if admission.subresource:
            return
        labels = admission.object.metadata.labels or {}
        before = (admission.old.metadata.labels or {}) if admission.old is not None else {}
        wrong = list(problems(labels))
        if wrong and (admission.old is None or wrong != list(problems(before))):
            raise invalid(About(kind="Namespace", resource="namespaces", name=admission.name), wrong)
        policy, former = policy_of(labels, self.defaults), policy_of(before, self.defaults)
        if admission.old is not None and not asks_more(policy.enforce, former.enforce):
            return
        if admission.name in self.exempt.namespaces:
            admission.warnings += ignored(admission.name, policy, labels, self.defaults)
        elif admission.old is not None:
            pods = [pod for pod in await self.objects.listed(Pod, admission.name) if not self.exempts_class(pod)]
            admission.warnings += await warnings_about(pods, admission.name, policy.enforce, self.inputs.clock)

    def exempts_class(self, pod: Pod) -> bool:
        return pod.spec.runtime_class_name in self.exempt.runtime_classes


def evaluate(admission: Admission, policy: Policy, spec: PodSpec, annotations: Annotations, *, is_pod: bool) -> None:
    refusal = told(policy.enforce, violations(policy.enforce, spec, annotations)) if is_pod else ""
    if is_pod:
        admission.audit[f"{PREFIX}enforce-policy"] = str(policy.enforce)
    noted = told(policy.audit, violations(policy.audit, spec, annotations))
    if noted:
        admission.audit[f"{PREFIX}audit-violations"] = f"would violate PodSecurity {noted}"
    if refusal:
        raise refused(admission, f"violates PodSecurity {refusal}")
    warned = told(policy.warn, violations(policy.warn, spec, annotations))
    if warned:
        admission.warnings.append(f"would violate PodSecurity {warned}")


def told(standard: Standard, found: Sequence[Violation]) -> str:
    """`"restricted:latest": host namespaces (hostNetwork=true)`; empty where nothing is wrong."""
    return f'"{standard}": {", ".join(map(str, found))}' if found else ""


def asks_more(new: Standard, old: Standard) -> bool:
    """Whether pods that came in may be ones that would not any more."""
    if new == old or new.level == FREE:
        return False
    return new.version != old.version or stricter(new.level, old.level)


def ignored(name: str, policy: Policy, labels: Annotations, defaults: Policy) -> Iterator[str]:
    """The warning that an exempt namespace has labels for nothing."""
    if policy.is_free or policy == defaults:
        return
    standards: list[tuple[str, Standard]] = [(mode, getattr(policy, mode)) for mode in MODES]
    said = [
        f"{mode}={standard}"
        for mode, standard in standards
        if standard.level != FREE and {f"{PREFIX}{mode}", f"{PREFIX}{mode}-version"} & labels.keys()
    ]
    yield f'namespace "{name}" is exempt from Pod Security, and the policy ({", ".join(said)}) will be ignored'


def spec_of(obj: Any) -> tuple[PodSpec | None, Annotations]:
    """A pod's spec and annotations, or those of the pods that it makes."""
    if isinstance(obj, Pod):
        return obj.spec, obj.metadata.annotations or {}
    if isinstance(obj, PodTemplate):
        template = obj.template
    else:
        template = (obj.spec.job_template.spec if isinstance(obj, CronJob) else obj.spec).template
    if template is None or template.spec is None:
        return None, {}
    return template.spec, (template.metadata.annotations or {}) if template.metadata else {}


def is_significant(pod: Pod, old: Pod | None) -> bool:
    """Whether an update changes anything that is checked: of a pod that is there, images and ephemeral containers."""
    return old is None or checked_of(pod) != checked_of(old)


def checked_of(pod: Pod) -> list[tuple[str, str | None, str | None]]:
    annotations = pod.metadata.annotations or {}
    spec = pod.spec
    every: list[Container] = [*(spec.init_containers or ()), *spec.containers, *(spec.ephemeral_containers or ())]  # type: ignore[list-item]
    return [(one.name, one.image, annotations.get(f"{SECCOMP_CONTAINER}{one.name}")) for one in every]
