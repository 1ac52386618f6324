"""PodSecurity: a namespace's labels say how much its pods may ask of the machine: privileged, baseline or restricted.

- `pod-security.kubernetes.io/enforce` refuses, `/warn` warns the author, `/audit` notes it for the audit log; each may
  name another level.
- Pods are checked; for what makes pods later (a Deployment, say) it is only said.
"""

from collections.abc import Mapping
from typing import Any

from kybern.api.core_v1 import Namespace, Pod, PodSpec
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.admission.pod_standards import violations
from kybern.apiserver.request import Admission

PREFIX = "pod-security.kubernetes.io/"


class PodSecurity(Plugin):
    name = "PodSecurity"

    async def validate(self, admission: Admission) -> None:
        if admission.operation not in ("CREATE", "UPDATE") or not admission.namespace:
            return
        if admission.subresource not in ("", "ephemeralcontainers"):
            return
        spec, annotations = spec_of(admission.object)
        if spec is None or unchanged(admission, spec):
            return
        namespace = self.objects.get(Namespace, admission.namespace)
        labels = (namespace.metadata.labels or {}) if namespace else {}
        is_pod = isinstance(admission.object, Pod)
        self.enforce(admission, labels, spec, annotations, refuses=is_pod)

    def enforce(
        self,
        admission: Admission,
        labels: Mapping[str, str],
        spec: PodSpec,
        annotations: Mapping[str, str],
        *,
        refuses: bool,
    ) -> None:
        level = labels.get(f"{PREFIX}enforce", "privileged")
        audited = labels.get(f"{PREFIX}audit", "")
        noted = described(audited, labels, "audit", spec, annotations) if audited else ""
        if noted:
            admission.audit[f"{PREFIX}audit-violations"] = f"would violate PodSecurity {noted}"
        wrong = described(level, labels, "enforce", spec, annotations) if refuses else ""
        if refuses:
            admission.audit[f"{PREFIX}enforce-policy"] = f"{level}:{labels.get(f'{PREFIX}enforce-version', 'latest')}"
        if wrong:
            raise refused(admission, f"violates PodSecurity {wrong}")
        warned = labels.get(f"{PREFIX}warn") or ("" if refuses else level)
        wrong = described(warned, labels, "warn", spec, annotations) if warned else ""
        if wrong:
            admission.warnings.append(f"would violate PodSecurity {wrong}")


def described(level: str, labels: Mapping[str, str], mode: str, spec: PodSpec, annotations: Mapping[str, str]) -> str:
    """`"restricted:latest": host namespaces (hostNetwork=true)`; empty where nothing is wrong."""
    found = violations(level, spec, annotations)
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    return f'"{level}:{version}": {", ".join(found)}' if found else ""


def spec_of(obj: Any) -> tuple[PodSpec | None, Mapping[str, str]]:
    """A pod's spec and annotations, or those of the pods that it makes."""
    if isinstance(obj, Pod):
        return obj.spec, obj.metadata.annotations or {}
    spec = getattr(obj, "spec", None)
    job = getattr(spec, "job_template", None)
    template = getattr(job.spec if job is not None else spec, "template", None)
    if template is None or not isinstance(getattr(template, "spec", None), PodSpec):
        return None, {}
    return template.spec, (template.metadata.annotations or {}) if template.metadata else {}


def unchanged(admission: Admission, spec: PodSpec) -> bool:
    """An update that changes nothing that is checked."""
    return admission.old is not None and spec_of(admission.old)[0] == spec
