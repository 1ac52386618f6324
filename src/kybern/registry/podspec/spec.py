"""A pod spec as a whole, and a pod template: what is wrong with it."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import PodSpec, PodTemplateSpec
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import INT32_MAX, between, judged, labels, named
from kybern.registry.metadata import validate_annotations, validate_finalizers, validate_labels
from kybern.registry.podspec.amounts import validate_amount, validate_resources
from kybern.registry.podspec.containers import RESTART_POLICIES, validate_containers
from kybern.registry.podspec.naming import validate_naming
from kybern.registry.podspec.placement import validate_placement
from kybern.registry.podspec.security import validate_pod_security
from kybern.registry.podspec.volumes import validate_volumes

NO_VOLUMES: frozenset[str] = frozenset()


def validate_pod_spec(spec: PodSpec, at: str) -> Iterator[FieldError]:
    volumes = NO_VOLUMES
    if spec.volumes:
        yield from validate_volumes(spec.volumes, f"{at}.volumes")
        volumes = frozenset(volume.name for volume in spec.volumes)
    yield from validate_containers(spec, volumes, at)
    if not spec.restart_policy:
        yield required(f"{at}.restartPolicy")
    elif spec.restart_policy not in RESTART_POLICIES:
        yield not_supported(f"{at}.restartPolicy", spec.restart_policy, RESTART_POLICIES)
    yield from validate_naming(spec, at)
    if spec.node_selector:
        yield from labels(spec.node_selector.items(), f"{at}.nodeSelector")
    yield from validate_placement(spec, at)
    context = spec.security_context
    if context is not None:
        yield from validate_pod_security(context, spec, f"{at}.securityContext")
    if spec.host_network:
        yield from validate_host_network(spec, at)
    if spec.share_process_namespace and spec.host_pid:
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{at}.shareProcessNamespace", spec.share_process_namespace, why)
    yield from validate_names(spec, at)
    yield from validate_the_rest(spec, at)


def validate_host_network(spec: PodSpec, at: str) -> Iterator[FieldError]:
    """A container in the host's network has the host's ports: the two numbers are one."""
    for field, containers in (("containers", spec.containers), ("initContainers", spec.init_containers or ())):
        for index, container in enumerate(containers):
            for place, port in enumerate(container.ports or ()):
                if port.host_port and port.host_port != port.container_port:
                    here = f"{at}.{field}[{index}].ports[{place}].containerPort"
                    yield invalid_value(here, port.container_port, "must match `hostPort` when `hostNetwork` is true")
    if spec.host_users is False:
        yield forbidden_field(f"{at}.hostNetwork", "when `hostUsers` is false")


def validate_names(spec: PodSpec, at: str) -> Iterator[FieldError]:
    for field, value in (
        ("serviceAccountName", spec.service_account_name), ("nodeName", spec.node_name),
        ("priorityClassName", spec.priority_class_name), ("runtimeClassName", spec.runtime_class_name),
    ):  # fmt: skip
        yield from judged(f"{at}.{field}", value, names.dns1123_subdomain)
    if spec.scheduling_gates and spec.node_name:
        yield forbidden_field(f"{at}.nodeName", "cannot be set until all schedulingGates have been cleared")
    for index, claim in enumerate(spec.resource_claims or ()):
        yield from named(f"{at}.resourceClaims[{index}].name", claim.name, names.dns1123_label)
        if (claim.resource_claim_name is None) == (claim.resource_claim_template_name is None):
            yield invalid_value(
                f"{at}.resourceClaims[{index}]", claim,
                "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`",
            )  # fmt: skip


def validate_the_rest(spec: PodSpec, at: str) -> Iterator[FieldError]:
    deadline = spec.active_deadline_seconds
    if deadline is not None and not 1 <= deadline <= INT32_MAX:
        yield invalid_value(f"{at}.activeDeadlineSeconds", deadline, between(1, INT32_MAX))
    if spec.preemption_policy is not None and spec.preemption_policy not in ("Never", "PreemptLowerPriority"):
        yield not_supported(f"{at}.preemptionPolicy", spec.preemption_policy, ("Never", "PreemptLowerPriority"))
    if spec.os is not None and spec.os.name not in ("linux", "windows"):
        if not spec.os.name:
            yield required(f"{at}.os.name")
        else:
            yield not_supported(f"{at}.os", spec.os.name, ("linux", "windows"))
    for name, amount in (spec.overhead or {}).items():
        yield from validate_amount(name, amount, f"{at}.overhead")
    if spec.resources is not None:
        yield from validate_resources(spec.resources, f"{at}.resources")


def validate_template(template: PodTemplateSpec, at: str) -> Iterator[FieldError]:
    """A template: the metadata that its pods will get, and their spec."""
    meta = template.metadata
    if meta.labels:
        yield from validate_labels(meta.labels, f"{at}.metadata.labels")
    if meta.annotations:
        yield from validate_annotations(meta.annotations, f"{at}.metadata.annotations")
    if meta.finalizers:
        yield from validate_finalizers(meta.finalizers, f"{at}.metadata.finalizers")
    yield from validate_pod_spec(template.spec, f"{at}.spec")
    if template.spec.ephemeral_containers:
        yield forbidden_field(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
