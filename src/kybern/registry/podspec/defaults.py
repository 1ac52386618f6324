"""What a pod spec means where it says nothing.

Containers, init containers and ephemeral containers alike get a pull policy by their image's tag, a place for the
termination message and complete probes; volumes get their modes. Only in a pod, not in a template, requests follow limits.
"""

from collections.abc import Mapping

from msgspec import structs

from kybern.api import quantity
from kybern.api.core_v1 import (
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvVar,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    Volume,
    VolumeProjection,
)
from kybern.api.shape import Quantity
from kybern.registry.defaulting import each, filled, filled_zero, part, parts
from kybern.registry.podspec.amounts import COMPUTE, is_huge
from kybern.registry.podspec.demand import total_limits, total_requests

FILE_MODE = 0o644
TOKEN_SECONDS = 3600
NO_SECURITY_CONTEXT = PodSecurityContext()
EMPTY_DIR = Volume(empty_dir=EmptyDirVolumeSource())

VOLUME_SOURCES = tuple(name for name in Volume.__struct_fields__ if name != "name")


def default_template(template: PodTemplateSpec) -> PodTemplateSpec:
    return part(template, "spec", default_spec)


def default_spec(spec: PodSpec) -> PodSpec:
    account = spec.service_account_name or spec.service_account
    changes = {
        "restart_policy": spec.restart_policy or "Always",
        "dns_policy": spec.dns_policy or "ClusterFirst",
        "scheduler_name": spec.scheduler_name or "default-scheduler",
        "security_context": NO_SECURITY_CONTEXT if spec.security_context is None else spec.security_context,
        "termination_grace_period_seconds": (
            30 if spec.termination_grace_period_seconds is None else spec.termination_grace_period_seconds
        ),
        "containers": each(spec.containers, default_container),
    }
    if account:
        changes["service_account_name"] = changes["service_account"] = account
    for name in ("init_containers", "ephemeral_containers"):
        if getattr(spec, name):
            changes[name] = each(getattr(spec, name), default_container)
    if spec.volumes:
        changes["volumes"] = each(spec.volumes, default_volume)
    changes = {name: value for name, value in changes.items() if getattr(spec, name) is not value}
    return structs.replace(spec, **changes) if changes else spec


def pull_policy(image: str) -> str:
    """Always for a tag that moves (`latest`, or none at all), else IfNotPresent."""
    name, digest, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return "Always" if tag == "latest" or not (colon or digest) else "IfNotPresent"


def default_container(container: Container) -> Container:
    changes: dict[str, object] = {}
    if not container.image_pull_policy:
        changes["image_pull_policy"] = pull_policy(container.image or "")
    if not container.termination_message_path:
        changes["termination_message_path"] = "/dev/termination-log"
    if not container.termination_message_policy:
        changes["termination_message_policy"] = "File"
    if container.resources is None:
        changes["resources"] = NO_RESOURCES
    elif container.resources.limits or container.resources.requests:
        changes["resources"] = default_resources(container.resources)
    if container.ports:
        changes["ports"] = each(container.ports, default_port)
    if container.env:
        changes["env"] = each(container.env, default_env)
    if container.lifecycle is not None:
        changes["lifecycle"] = default_lifecycle(container.lifecycle)
    for name in ("liveness_probe", "readiness_probe", "startup_probe"):
        probe = getattr(container, name)
        if probe is not None:
            changes[name] = default_probe(probe)
    changes = {name: value for name, value in changes.items() if getattr(container, name) is not value}
    return structs.replace(container, **changes) if changes else container


NO_RESOURCES = ResourceRequirements()


def default_resources(resources: ResourceRequirements) -> ResourceRequirements:
    """Amounts are kept in thousandths at most."""
    limits = rounded(resources.limits)
    requests = rounded(resources.requests)
    if limits is resources.limits and requests is resources.requests:
        return resources
    return structs.replace(resources, limits=limits, requests=requests)


def rounded(amounts: Mapping[str, Quantity] | None) -> Mapping[str, Quantity] | None:
    if not amounts or not any(amount[-1:] in ("n", "u") for amount in amounts.values()):
        return amounts
    return {name: quantity.rounded_up_to_milli(amount) for name, amount in amounts.items()}


def default_port(port: ContainerPort) -> ContainerPort:
    return filled(port, protocol="TCP")


def default_env(env: EnvVar) -> EnvVar:
    source = env.value_from
    if source is None or source.field_ref is None or source.field_ref.api_version:
        return env
    field_ref = structs.replace(source.field_ref, api_version="v1")
    return structs.replace(env, value_from=structs.replace(source, field_ref=field_ref))


def default_http_get(action: HTTPGetAction) -> HTTPGetAction:
    return filled(action, path="/", scheme="HTTP")


def default_lifecycle(lifecycle: Lifecycle) -> Lifecycle:
    return part(part(lifecycle, "post_start", default_handler), "pre_stop", default_handler)


def default_handler(handler: LifecycleHandler) -> LifecycleHandler:
    return part(handler, "http_get", default_http_get)


def default_probe(probe: Probe) -> Probe:
    probe = filled_zero(probe, timeout_seconds=1, period_seconds=10, success_threshold=1, failure_threshold=3)
    if probe.grpc is not None and probe.grpc.service is None:
        probe = structs.replace(probe, grpc=structs.replace(probe.grpc, service=""))
    return part(probe, "http_get", default_http_get)


# --- volumes ----------------------------------------------------------------------------------------------------------

COMMON_DEFAULTS: dict[str, dict[str, object]] = {
    "secret": {"default_mode": FILE_MODE},
    "config_map": {"default_mode": FILE_MODE},
    "iscsi": {"iscsi_interface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azure_disk": {"caching_mode": "ReadWrite", "kind": "Shared", "fs_type": "ext4", "read_only": False},
    "scale_io": {"fs_type": "xfs", "storage_mode": "ThinProvisioned"},
}


def default_volume(volume: Volume) -> Volume:
    for name in VOLUME_SOURCES:
        source = getattr(volume, name)
        if source is not None:
            after = default_source(name, source)
            return volume if after is source else structs.replace(volume, **{name: after})
    return structs.replace(volume, empty_dir=EMPTY_DIR.empty_dir)


def default_source(name: str, source: object) -> object:
    if name in COMMON_DEFAULTS:
        return filled(source, **COMMON_DEFAULTS[name])
    match name:
        case "host_path":
            return source if source.type is not None else structs.replace(source, type="")  # type: ignore
        case "downward_api":
            return parts(filled(source, default_mode=FILE_MODE), "items", default_downward_file)
        case "projected":
            return parts(filled(source, default_mode=FILE_MODE), "sources", default_projection)
        case "image":
            return filled(source, pull_policy=pull_policy(source.reference or ""))  # type: ignore[attr-defined]
        case "ephemeral":
            return part(source, "volume_claim_template", default_claim_template)
    return source


def default_downward_file(file: object) -> object:
    return part(file, "field_ref", lambda ref: filled(ref, api_version="v1"))


def default_projection(projection: VolumeProjection) -> VolumeProjection:
    projection = part(projection, "service_account_token", lambda t: filled(t, expiration_seconds=TOKEN_SECONDS))
    return part(projection, "downward_api", lambda api: parts(api, "items", default_downward_file))


def default_claim_template(template: object) -> object:
    return part(template, "spec", lambda spec: filled(spec, volume_mode="Filesystem"))


# --- pods, not templates ----------------------------------------------------------------------------------------------


def default_pod_spec(spec: PodSpec) -> PodSpec:
    """A pod also says whether it wants service variables, and which of the host's ports it takes."""
    spec = default_spec(spec)
    if spec.enable_service_links is None:
        spec = structs.replace(spec, enable_service_links=True)
    if any(limits_of(container) for container in (*spec.containers, *(spec.init_containers or ()))):
        spec = parts(parts(spec, "containers", default_requests), "init_containers", default_requests)
    if spec.resources is not None and (spec.resources.limits or spec.resources.requests):
        spec = part(spec, "resources", lambda resources: default_pod_resources(resources, spec))
    if spec.host_network:
        spec = parts(parts(spec, "containers", default_host_ports), "init_containers", default_host_ports)
    return spec


def limits_of(container: Container) -> Mapping[str, Quantity]:
    return (container.resources.limits if container.resources is not None else None) or {}


def default_requests(container: Container) -> Container:
    """A request follows its limit: of a pod's containers, not of a template's."""
    limits = limits_of(container)
    resources = container.resources
    if resources is None or limits.keys() <= (resources.requests or {}).keys():
        return container
    requests = {**limits, **(resources.requests or {})}
    return structs.replace(container, resources=structs.replace(resources, requests=requests))


def default_pod_resources(resources: ResourceRequirements, spec: PodSpec) -> ResourceRequirements:
    """A request for the whole pod is what its containers request, or its limit where none of them does.

    Huge pages are limited to what the containers may have of them.
    """
    requests, limits = dict(resources.requests or {}), dict(resources.limits or {})
    for name, amount in total_limits(spec).items():
        if is_huge(name) and name not in requests:
            limits.setdefault(name, amount)
    if limits:
        for name, amount in total_requests(spec).items():
            if name in COMPUTE:
                requests.setdefault(name, amount)
        for name, amount in limits.items():
            if name in COMPUTE or is_huge(name):
                requests.setdefault(name, amount)
    if requests == (resources.requests or {}) and limits == (resources.limits or {}):
        return resources
    return structs.replace(resources, requests=requests, limits=limits or None)


def default_host_ports(container: Container) -> Container:
    return parts(container, "ports", lambda port: filled_zero(port, host_port=port.container_port))
