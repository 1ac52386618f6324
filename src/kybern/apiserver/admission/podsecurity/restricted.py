"""`restricted` asks besides for what a hardened pod states by itself; some of its checks stand in for one of `baseline`."""

from typing import Any

from kybern.api.core_v1 import PodSpec
from kybern.apiserver.admission.podsecurity.baseline import added_capabilities, proc_mounts, uses
from kybern.apiserver.admission.podsecurity.judging import (
    Annotations,
    Check,
    Violation,
    called,
    containers,
    forbidden_seccomp,
    in_user_namespace,
    is_windows,
    plural,
    quoted,
    setters,
    unless,
)

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "image",
}  # fmt: skip


def may_escalate(spec: PodSpec, _: Annotations) -> Violation | None:
    names = unless(spec, lambda context: context.allow_privilege_escalation is False)
    if not names:
        return None
    said = f"{called(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", said)


def unrestricted_capabilities(spec: PodSpec, _: Annotations) -> Violation | None:
    keeping = unless(spec, lambda context: "ALL" in ((context.capabilities and context.capabilities.drop) or ()))
    adding, found = added_capabilities(spec, {"NET_BIND_SERVICE"})
    parts = []
    if keeping:
        parts.append(f'{called(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        parts.append(f"{called(adding)} must not include {quoted(found)} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def other_volumes(spec: PodSpec, _: Annotations) -> Violation | None:
    found = {v.name: kinds for v in spec.volumes or () if not (kinds := sources_of(v)) & VOLUMES}
    if not found:
        return None
    names = list(found)
    types = sorted({min(kinds, default="unknown") for kinds in found.values()})
    what = plural("restricted volume type", types)
    return Violation(
        "restricted volume types", f"{plural('volume', names)} {quoted(names)} {uses(names)} {what} {quoted(types)}"
    )


def sources_of(volume: Any) -> set[str]:
    fields = zip(volume.__struct_fields__, volume.__struct_encode_fields__, strict=True)
    return {said for field, said in fields if field != "name" and getattr(volume, field) is not None}


def may_be_root(spec: PodSpec, _: Annotations) -> Violation | None:
    reason = "runAsNonRoot != true"
    explicit = setters(spec, lambda context: context.run_as_non_root is False)
    if explicit:
        return Violation(reason, f"{explicit} must not set securityContext.runAsNonRoot=false")
    covered = spec.security_context is not None and bool(spec.security_context.run_as_non_root)
    silent = [] if covered else unless(spec, lambda context: context.run_as_non_root is not None)
    if not silent:
        return None
    return Violation(reason, f"pod or {called(silent)} must set securityContext.runAsNonRoot=true")


def is_root(spec: PodSpec, _: Annotations) -> Violation | None:
    found = setters(spec, lambda context: context.run_as_user == 0)
    return Violation("runAsUser=0", f"{found} must not set runAsUser=0") if found else None


def no_seccomp(spec: PodSpec, _: Annotations) -> Violation | None:
    wrong = forbidden_seccomp(spec)
    covered = spec.security_context is not None and spec.security_context.seccomp_profile is not None
    if wrong is not None or covered:
        return wrong
    silent = [
        c.name for c in containers(spec) if c.security_context is None or c.security_context.seccomp_profile is None
    ]
    if not silent:
        return None
    said = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", f"pod or {called(silent)} {said}")


def but_on_windows(check: Check) -> Check:
    """There is no such field there."""
    return lambda spec, annotations: None if is_windows(spec) else check(spec, annotations)


def but_in_user_namespaces(check: Check) -> Check:
    return lambda spec, annotations: None if in_user_namespace(spec) else check(spec, annotations)


RESTRICTED: dict[str, dict[int, Check]] = {
    "allowPrivilegeEscalation": {8: may_escalate, 25: but_on_windows(may_escalate)},
    "capabilities_restricted": {22: unrestricted_capabilities, 25: but_on_windows(unrestricted_capabilities)},
    "procMount_restricted": {35: proc_mounts},
    "restrictedVolumes": {0: other_volumes},
    "runAsNonRoot": {0: may_be_root, 35: but_in_user_namespaces(may_be_root)},
    "runAsUser": {23: is_root, 35: but_in_user_namespaces(is_root)},
    "seccompProfile_restricted": {19: no_seccomp, 25: but_on_windows(no_seccomp)},
}
IN_PLACE_OF = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""Of `restricted`: which check of `baseline` says nothing any more."""
