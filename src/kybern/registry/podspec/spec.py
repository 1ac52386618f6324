"""A pod spec as a whole, and a pod template: what is wrong with it."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import PodSpec, PodTemplateSpec, ResourceRequirements, Volume
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.api.numbers import INT32_MAX
from kybern.registry.checks import between, judged, labels, one_of
from kybern.registry.metadata import validate_annotations, validate_labels
from kybern.registry.podspec.amounts import claims_of, validate_pod_resources, validate_resources
from kybern.registry.podspec.annotations import validate_pod_annotations, validate_profiles_agree
from kybern.registry.podspec.containers import RESTART_POLICIES, Pod, validate_containers
from kybern.registry.podspec.naming import DNS_POLICIES, validate_dns, validate_host_aliases
from kybern.registry.podspec.placement import validate_placement, validate_tolerations
from kybern.registry.podspec.security import validate_pod_security
from kybern.registry.podspec.volumes import validate_volumes
from kybern.registry.podspec.windows import validate_host_process, validate_linux, validate_windows

HOSTNAME_BYTES_MAX = 64  # Linux' own limit


def validate_pod_spec(spec: PodSpec, at: str, pod: str = "") -> Iterator[FieldError]:
    """`pod`: its name; empty, it is a template's."""
    if spec.termination_grace_period_seconds is None:
        yield required(f"{at}.terminationGracePeriodSeconds")
    volumes: dict[str, Volume] = {}
    if spec.volumes:
        yield from validate_volumes(spec.volumes, f"{at}.volumes", volumes, pod)
    if spec.resource_claims:
        yield from validate_resource_claims(spec, f"{at}.resourceClaims")
    yield from validate_containers(Pod(spec, volumes, pod, claims_of(spec)), at)
    yield from validate_pod_resources(spec, f"{at}.resources")
    if spec.host_network:
        yield from validate_host_network(spec, at, whole=bool(pod))
    yield from one_of(f"{at}.restartPolicy", spec.restart_policy, RESTART_POLICIES)
    yield from one_of(f"{at}.dnsPolicy", spec.dns_policy, DNS_POLICIES)
    if spec.node_selector:
        yield from labels(spec.node_selector.items(), f"{at}.nodeSelector")
    if spec.security_context is not None:
        yield from validate_pod_security(spec.security_context, spec, f"{at}.securityContext")
    if spec.dns_config is not None or spec.dns_policy == "None":
        yield from validate_dns(spec, f"{at}.dnsConfig")
    yield from validate_placement(spec, at)
    yield from validate_host_process(spec, at)
    if spec.host_users is False:
        yield from validate_own_users(spec, at)
    yield from validate_names(spec, at)
    yield from validate_the_rest(spec, at)


def validate_resource_claims(spec: PodSpec, at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, claim in enumerate(spec.resource_claims or ()):
        here = f"{at}[{index}]"
        if not claim.name:
            yield required(f"{here}.name")
        elif claim.name in seen:
            yield duplicate(f"{here}.name", claim.name)
        else:
            yield from judged(f"{here}.name", claim.name, names.dns1123_label)
            seen.add(claim.name)
        own, template = claim.resource_claim_name, claim.resource_claim_template_name
        if own is not None and template is not None:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid_value(here, claim, why)
        if own is None and template is None:
            yield invalid_value(here, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field, name in (("resourceClaimName", own), ("resourceClaimTemplateName", template)):
            for wrong in names.dns1123_subdomain(name) if name is not None else ():
                yield invalid_value(f"{here}.{field}", name, wrong)


def validate_host_network(spec: PodSpec, at: str, whole: bool) -> Iterator[FieldError]:
    """A container in the host's network has the host's ports: the two numbers are one, once the pod is made."""
    for index, container in enumerate(spec.containers):
        for place, port in enumerate(container.ports or ()):
            if (whole or port.host_port) and port.host_port != port.container_port:
                here = f"{at}.containers[{index}].ports[{place}].hostPort"
                yield invalid_value(here, port.host_port or 0, "must match `containerPort` when `hostNetwork` is true")


def validate_own_users(spec: PodSpec, at: str) -> Iterator[FieldError]:
    """Users of its own, and still the host's network, processes or memory: nothing that belongs to both would work."""
    for field, shared in (
        ("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)
    ):  # fmt: skip
        if shared:
            yield forbidden_field(f"{at}.{field}", "when `pod.Spec.HostUsers` is false")


def validate_names(spec: PodSpec, at: str) -> Iterator[FieldError]:
    yield from judged(f"{at}.serviceAccountName", spec.service_account_name, names.dns1123_subdomain)
    yield from judged(f"{at}.nodeName", spec.node_name, names.dns1123_subdomain)
    deadline = spec.active_deadline_seconds
    if deadline is not None and not 1 <= deadline <= INT32_MAX:
        yield invalid_value(f"{at}.activeDeadlineSeconds", deadline, between(1, INT32_MAX))
    yield from judged(f"{at}.hostname", spec.hostname, names.dns1123_label)
    yield from judged(f"{at}.subdomain", spec.subdomain, names.dns1123_label)
    if spec.hostname_override is not None:
        yield from validate_hostname_override(spec.hostname_override, spec, at)


def validate_hostname_override(name: str, spec: PodSpec, at: str) -> Iterator[FieldError]:
    for wrong in names.dns1123_subdomain(name):
        yield invalid_value(f"{at}.hostnameOverride", name, wrong)
    if len(name) > HOSTNAME_BYTES_MAX:
        yield too_long(f"{at}.hostnameOverride", name, HOSTNAME_BYTES_MAX)
    if spec.host_network:
        yield forbidden_field(f"{at}.hostNetwork", "when `hostnameOverride` is set")
    if spec.set_hostname_as_fqdn:
        yield forbidden_field(f"{at}.setHostnameAsFQDN", "when `hostnameOverride` is set")


def validate_the_rest(spec: PodSpec, at: str) -> Iterator[FieldError]:
    if spec.tolerations:
        yield from validate_tolerations(spec.tolerations, f"{at}.tolerations")
    if spec.host_aliases:
        yield from validate_host_aliases(spec.host_aliases, f"{at}.hostAliases")
    yield from judged(f"{at}.priorityClassName", spec.priority_class_name, names.dns1123_subdomain)
    runtime = spec.runtime_class_name
    for wrong in names.dns1123_subdomain(runtime) if runtime is not None else ():
        yield invalid_value(f"{at}.runtimeClassName", runtime, wrong)
    if spec.preemption_policy is not None:
        yield from one_of(f"{at}.preemptionPolicy", spec.preemption_policy, ("PreemptLowerPriority", "Never"))
    if spec.overhead is not None:
        yield from validate_resources(ResourceRequirements(limits=spec.overhead), f"{at}.overhead")
    if spec.os is not None:
        match spec.os.name:
            case "":
                yield required(f"{at}.os.name", "cannot be empty")
            case "linux":
                yield from validate_linux(spec, at)
            case "windows":
                yield from validate_windows(spec, at)
            case other:
                yield not_supported(f"{at}.os", other, ("linux", "windows"))


def validate_template(template: PodTemplateSpec, at: str) -> Iterator[FieldError]:
    """A template: the metadata that its pods will get, and their spec."""
    meta, annotations = template.metadata, template.metadata.annotations or {}
    if meta.labels:
        yield from validate_labels(meta.labels, f"{at}.labels")
    if annotations:
        yield from validate_annotations(annotations, f"{at}.annotations")
        yield from validate_pod_annotations(annotations, template.spec, f"{at}.annotations")
    yield from validate_pod_spec(template.spec, f"{at}.spec")
    if annotations:
        yield from validate_profiles_agree(annotations, template.spec, f"{at}.spec")
    if template.spec.ephemeral_containers:
        yield forbidden_field(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
