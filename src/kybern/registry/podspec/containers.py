"""Containers of a pod: the ordinary ones, those that run first (and may stay, as sidecars), and those added to debug."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import Container, ContainerPort, ContainerResizePolicy, EphemeralContainer, PodSpec
from kybern.api.invalid import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_value,
    not_supported,
    required,
)
from kybern.registry.checks import at_most, judged, named, one_of
from kybern.registry.podspec.amounts import COMPUTE, NO_CLAIMS, Claims, validate_resources
from kybern.registry.podspec.env import validate_env, validate_env_from
from kybern.registry.podspec.mounts import validate_mounts
from kybern.registry.podspec.probes import validate_lifecycle, validate_readiness_probe, validate_restarting_probe
from kybern.registry.podspec.security import validate_container_security
from kybern.registry.podspec.volumes import Volumes

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROTOCOLS = ("SCTP", "TCP", "UDP")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
NOT_FOR_EPHEMERAL = (
    ("lifecycle", "lifecycle"), ("livenessProbe", "liveness_probe"), ("ports", "ports"),
    ("readinessProbe", "readiness_probe"), ("resizePolicy", "resize_policy"), ("restartPolicy", "restart_policy"),
    ("restartPolicyRules", "restart_policy_rules"), ("startupProbe", "startup_probe"),
)  # fmt: skip
RESTART_RULES_MAX = 20
EXIT_CODES_MAX = 255


@dataclass(frozen=True, slots=True)
class Pod:
    """What the containers of a pod, or of a template, have around them."""

    spec: PodSpec
    volumes: Volumes
    name: str = ""
    """Of the pod; empty: a template's."""
    claims: Claims = NO_CLAIMS


def validate_containers(pod: Pod, at: str) -> Iterator[FieldError]:
    here, spec = f"{at}.containers", pod.spec
    if not spec.containers:
        yield required(here)
    seen: set[str] = set()
    for index, container in enumerate(spec.containers):
        path = f"{here}[{index}]"
        yield from validate_container(container, pod, path)
        if container.name in seen:
            yield duplicate(f"{path}.name", container.name)
        seen.add(container.name)
        yield from validate_hooks(container, spec, path)
        yield from validate_restarts(container, path)
    yield from validate_host_ports(spec.containers, here)
    if spec.init_containers:
        yield from validate_init_containers(spec.init_containers, seen, pod, f"{at}.initContainers")
    if spec.ephemeral_containers:
        yield from validate_ephemeral_containers(pod, f"{at}.ephemeralContainers")


def validate_container(container: Any, pod: Pod, at: str) -> Iterator[FieldError]:
    """What holds for every container, whichever list it is in."""
    yield from named(f"{at}.name", container.name, names.dns1123_label)
    if not container.image:
        yield required(f"{at}.image")
    elif pod.name and container.image != container.image.strip():
        yield invalid_value(f"{at}.image", container.image, "must not have leading or trailing whitespace")
    yield from one_of(f"{at}.terminationMessagePolicy", container.termination_message_policy, MESSAGE_POLICIES)
    if container.ports:
        yield from validate_ports(container.ports, f"{at}.ports")
    if container.env:
        yield from validate_env(container.env, f"{at}.env")
    if container.env_from:
        yield from validate_env_from(container.env_from, f"{at}.envFrom")
    if container.volume_mounts or container.volume_devices:
        yield from validate_mounts(container, pod.volumes, at)
    yield from one_of(f"{at}.imagePullPolicy", container.image_pull_policy, PULL_POLICIES)
    resources = container.resources
    if resources is not None and (resources.limits or resources.requests or resources.claims):
        yield from validate_resources(resources, f"{at}.resources", pod.claims)
    if container.resize_policy:
        yield from validate_resize_policy(container.resize_policy, pod.spec, f"{at}.resizePolicy")
    if container.security_context is not None:
        own_users = pod.spec.host_users is False
        yield from validate_container_security(container.security_context, own_users, f"{at}.securityContext")


def validate_hooks(container: Container, spec: PodSpec, at: str) -> Iterator[FieldError]:
    """Of a container that stays."""
    if container.lifecycle is not None:
        yield from validate_lifecycle(container.lifecycle, spec, f"{at}.lifecycle")
    yield from validate_restarting_probe(container.liveness_probe, spec, f"{at}.livenessProbe")
    yield from validate_readiness_probe(container.readiness_probe, spec, f"{at}.readinessProbe")
    yield from validate_restarting_probe(container.startup_probe, spec, f"{at}.startupProbe")


def validate_restarts(container: Container, at: str) -> Iterator[FieldError]:
    """A policy of its own, and what it does at certain exit codes."""
    policy, rules = container.restart_policy, container.restart_policy_rules or ()
    if policy is not None and policy not in RESTART_POLICIES:
        yield not_supported(f"{at}.restartPolicy", policy, RESTART_POLICIES)
    if rules and policy is None:
        yield required(f"{at}.restartPolicy", "must specify restartPolicy when restart rules are used")
    yield from at_most(f"{at}.restartPolicyRules", rules, RESTART_RULES_MAX)
    for index, rule in enumerate(rules):
        here = f"{at}.restartPolicyRules[{index}]"
        yield from one_of(f"{here}.action", rule.action, ("Restart", "RestartAllContainers"))
        if rule.exit_codes is None:
            yield required(f"{here}.exitCodes", "must be specified")
            continue
        yield from one_of(f"{here}.exitCodes.operator", rule.exit_codes.operator, ("In", "NotIn"))
        values = rule.exit_codes.values or ()
        if not values:
            yield required(f"{here}.exitCodes.values", "must specify at least one exit code")
        yield from at_most(f"{here}.exitCodes.values", values, EXIT_CODES_MAX)


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


def validate_resize_policy(policies: tuple[ContainerResizePolicy, ...], spec: PodSpec, at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        if policy.resource_name in seen:
            yield duplicate(f"{at}[{index}]", policy.resource_name)
        seen.add(policy.resource_name)
        yield from one_of(at, policy.resource_name, COMPUTE)
        yield from one_of(at, policy.restart_policy, ("NotRequired", "RestartContainer"))
        if spec.restart_policy == "Never" and policy.restart_policy != "NotRequired":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            yield invalid_value(at, policy.restart_policy, why)


def validate_init_containers(
    containers: tuple[Container, ...], taken: set[str], pod: Pod, at: str
) -> Iterator[FieldError]:
    seen = set(taken)
    for index, container in enumerate(containers):
        here = f"{at}[{index}]"
        yield from validate_container(container, pod, here)
        yield from validate_restarts(container, here)
        if container.name in seen:
            yield duplicate(f"{here}.name", container.name)
        seen.add(container.name)
        yield from validate_host_ports((container,), at)  # they run one after the other
        if container.restart_policy == "Always":
            yield from validate_hooks(container, pod.spec, here)
        else:
            yield from validate_run_once(container, here)


def validate_run_once(container: Container, at: str) -> Iterator[FieldError]:
    """A container that ends before the others start can be neither probed nor hooked."""
    for field, value in (
        ("lifecycle", container.lifecycle), ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe), ("startupProbe", container.startup_probe),
    ):  # fmt: skip
        if value is not None:
            yield forbidden_field(f"{at}.{field}", "may not be set for init containers without restartPolicy=Always")


def validate_ephemeral_containers(pod: Pod, at: str) -> Iterator[FieldError]:
    targets = {container.name for container in (*pod.spec.containers, *(pod.spec.init_containers or ()))}
    taken = set(targets)
    for index, container in enumerate(pod.spec.ephemeral_containers or ()):
        here = f"{at}[{index}]"
        yield from validate_container(container, pod, here)
        if container.name in taken:
            yield duplicate(f"{here}.name", container.name)
        taken.add(container.name)
        if container.target_container_name and container.target_container_name not in targets:
            yield not_found_value(f"{here}.targetContainerName", container.target_container_name)
        yield from validate_ephemeral_fields(container, here)


def validate_ephemeral_fields(container: EphemeralContainer, at: str) -> Iterator[FieldError]:
    for field, name in NOT_FOR_EPHEMERAL:
        if getattr(container, name):
            yield forbidden_field(f"{at}.{field}", "cannot be set for an Ephemeral Container")
    resources = container.resources
    if resources is not None and (resources.limits or resources.requests or resources.claims):
        yield forbidden_field(f"{at}.resources", "cannot be set for an Ephemeral Container")
    for index, mount in enumerate(container.volume_mounts or ()):
        for field, value in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
            if value:
                yield forbidden_field(f"{at}.volumeMounts[{index}].{field}", "cannot be set for an Ephemeral Container")
