"""Containers of a pod: the ordinary ones, those that run first (and may stay, as sidecars), and those added to debug."""

from collections.abc import Collection, Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import Container, ContainerPort, EphemeralContainer, PodSpec
from kybern.api.invalid import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_value,
    not_supported,
    required,
)
from kybern.registry.checks import judged, named, one_of
from kybern.registry.podspec.amounts import validate_resources
from kybern.registry.podspec.env import validate_env, validate_env_from
from kybern.registry.podspec.mounts import validate_mounts
from kybern.registry.podspec.probes import validate_lifecycle, validate_readiness_probe, validate_restarting_probe
from kybern.registry.podspec.security import validate_container_security

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
NOT_FOR_EPHEMERAL = (
    ("lifecycle", "lifecycle"), ("livenessProbe", "liveness_probe"), ("ports", "ports"),
    ("readinessProbe", "readiness_probe"), ("startupProbe", "startup_probe"), ("restartPolicy", "restart_policy"),
)  # fmt: skip


def validate_containers(spec: PodSpec, volumes: Collection[str], at: str) -> Iterator[FieldError]:
    here = f"{at}.containers"
    claims = tuple(claim.name for claim in spec.resource_claims or ())
    if not spec.containers:
        yield required(here)
    seen: set[str] = set()
    for index, container in enumerate(spec.containers):
        path = f"{here}[{index}]"
        yield from validate_container(container, volumes, claims, path)
        if container.name in seen:
            yield duplicate(f"{path}.name", container.name)
        seen.add(container.name)
        if container.lifecycle is not None:
            yield from validate_lifecycle(container.lifecycle, f"{path}.lifecycle")
        yield from validate_probes(container, path)
        if container.restart_policy is not None and container.restart_policy not in RESTART_POLICIES:
            yield not_supported(f"{path}.restartPolicy", container.restart_policy, RESTART_POLICIES)
    yield from validate_host_ports(spec.containers, here)
    if spec.init_containers:
        yield from validate_init_containers(spec.init_containers, seen, volumes, claims, f"{at}.initContainers")
    if spec.ephemeral_containers:
        yield from validate_ephemeral_containers(spec, volumes, f"{at}.ephemeralContainers")


def validate_container(
    container: Any, volumes: Collection[str], claims: tuple[str, ...], at: str
) -> Iterator[FieldError]:
    """What holds for every container, whichever list it is in."""
    yield from named(f"{at}.name", container.name, names.dns1123_label)
    if not container.image:
        yield required(f"{at}.image")
    elif container.image != container.image.strip():
        yield invalid_value(f"{at}.image", container.image, "must not have leading or trailing whitespace")
    yield from one_of(f"{at}.terminationMessagePolicy", container.termination_message_policy, MESSAGE_POLICIES)
    if container.ports:
        yield from validate_ports(container.ports, f"{at}.ports")
    if container.env:
        yield from validate_env(container.env, f"{at}.env")
    if container.env_from:
        yield from validate_env_from(container.env_from, f"{at}.envFrom")
    if container.volume_mounts or container.volume_devices:
        yield from validate_mounts(container, volumes, at)
    yield from one_of(f"{at}.imagePullPolicy", container.image_pull_policy, PULL_POLICIES)
    resources = container.resources
    if resources is not None and (resources.limits or resources.requests or resources.claims):
        yield from validate_resources(resources, f"{at}.resources", claims)
    if container.resize_policy:
        yield from validate_resize_policy(container, f"{at}.resizePolicy")
    if container.security_context is not None:
        yield from validate_container_security(container.security_context, f"{at}.securityContext")


def validate_probes(container: Container, at: str) -> Iterator[FieldError]:
    yield from validate_restarting_probe(container.liveness_probe, f"{at}.livenessProbe")
    yield from validate_readiness_probe(container.readiness_probe, f"{at}.readinessProbe")
    yield from validate_restarting_probe(container.startup_probe, f"{at}.startupProbe")


def validate_ports(ports: tuple[ContainerPort, ...], at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{at}[{index}]"
        if port.name:
            wrong = names.port_name(port.name)
            for text in wrong:
                yield invalid_value(f"{here}.name", port.name, text)
            if not wrong and port.name in seen:
                yield duplicate(f"{here}.name", port.name)
            seen.add(port.name)
        if not port.container_port:
            yield required(f"{here}.containerPort")
        else:
            for text in names.port_number(port.container_port):
                yield invalid_value(f"{here}.containerPort", port.container_port, text)
        if port.host_port:
            for text in names.port_number(port.host_port):
                yield invalid_value(f"{here}.hostPort", port.host_port, text)
        yield from one_of(f"{here}.protocol", port.protocol, PROTOCOLS)
        yield from judged(f"{here}.hostIP", port.host_ip, names.ip)


def validate_host_ports(containers: tuple[Any, ...], at: str) -> Iterator[FieldError]:
    """No two containers of a pod can have the same port of the host."""
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for place, port in enumerate(container.ports or ()):
            if not port.host_port:
                continue
            key = f"{port.protocol}/{port.host_ip or ''}/{port.host_port}"
            if key in taken:
                yield duplicate(f"{at}[{index}].ports[{place}].hostPort", key)
            taken.add(key)


def validate_resize_policy(container: Any, at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for policy in container.resize_policy:
        if policy.resource_name in seen:
            yield duplicate(at, policy.resource_name)
        seen.add(policy.resource_name)
        if policy.resource_name not in ("cpu", "memory"):
            yield not_supported(at, policy.resource_name, ("cpu", "memory"))
        yield from one_of(at, policy.restart_policy, ("NotRequired", "RestartContainer"))


def validate_init_containers(
    containers: tuple[Container, ...], taken: set[str], volumes: Collection[str], claims: tuple[str, ...], at: str
) -> Iterator[FieldError]:
    seen = set(taken)
    for index, container in enumerate(containers):
        here = f"{at}[{index}]"
        yield from validate_container(container, volumes, claims, here)
        if container.name in seen:
            yield duplicate(f"{here}.name", container.name)
        seen.add(container.name)
        if container.restart_policy is not None and container.restart_policy not in RESTART_POLICIES:
            yield not_supported(f"{here}.restartPolicy", container.restart_policy, RESTART_POLICIES)
        if container.restart_policy == "Always":
            if container.lifecycle is not None:
                yield from validate_lifecycle(container.lifecycle, f"{here}.lifecycle")
            yield from validate_probes(container, here)
        else:
            yield from validate_run_once(container, here)
    yield from validate_host_ports(containers, at)


def validate_run_once(container: Container, at: str) -> Iterator[FieldError]:
    """A container that ends before the others start can be neither probed nor hooked."""
    for field, value in (
        ("lifecycle", container.lifecycle), ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe), ("startupProbe", container.startup_probe),
    ):  # fmt: skip
        if value is not None:
            yield forbidden_field(f"{at}.{field}", "may not be set for init containers without restartPolicy=Always")


def validate_ephemeral_containers(spec: PodSpec, volumes: Collection[str], at: str) -> Iterator[FieldError]:
    others = {container.name for container in (*spec.containers, *(spec.init_containers or ()))}
    targets = {container.name for container in spec.containers} | {c.name for c in spec.init_containers or ()}
    for index, container in enumerate(spec.ephemeral_containers or ()):
        here = f"{at}[{index}]"
        yield from validate_container(container, volumes, (), here)
        if container.name in others:
            yield duplicate(f"{here}.name", container.name)
        others.add(container.name)
        if container.target_container_name and container.target_container_name not in targets:
            yield not_found_value(f"{here}.targetContainerName", container.target_container_name)
        yield from validate_ephemeral_fields(container, here)


def validate_ephemeral_fields(container: EphemeralContainer, at: str) -> Iterator[FieldError]:
    for field, name in NOT_FOR_EPHEMERAL:
        if getattr(container, name):
            yield forbidden_field(f"{at}.{field}", "cannot be set for an Ephemeral Container")
    resources = container.resources
    if resources is not None and (resources.limits or resources.requests):
        yield forbidden_field(f"{at}.resources", "cannot be set for an Ephemeral Container")
    for index, mount in enumerate(container.volume_mounts or ()):
        for field, value in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
            if value:
                yield forbidden_field(f"{at}.volumeMounts[{index}].{field}", "cannot be set for an Ephemeral Container")
