"""What is odd about a pod, or the template of one, and allowed all the same: upstream's warnings, in its words.

Pods are warned of when they are made, and workloads whenever the part that their controller acts upon has changed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from heapq import merge
from operator import itemgetter
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import (
    Affinity,
    Container,
    ContainerPort,
    NodeSelectorTerm,
    PodAffinity,
    PodAntiAffinity,
    PodSpec,
    PodTemplateSpec,
    Volume,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.quantity import milli
from kybern.registry.address_warnings import all_ip_warnings, ip_warnings
from kybern.registry.checks import repeated
from kybern.registry.node_labels import NODE_LABELS, term_warnings
from kybern.registry.podspec.annotations import APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD
from kybern.registry.podspec.overlaps import overlap_warnings

ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
VOLUMES = (
    ("photon_persistent_disk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("git_repo", "gitRepo", "deprecated in v1.11"),
    ("scale_io", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
USE_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
USE_APPARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
NO_SELECTOR = "a null labelSelector results in matching no pod"
SURPRISING = "which can result in surprising behavior; a DNS label is recommended"
OF_A_POD = f"this is used in the Pod's hostname, {SURPRISING}"
OF_A_WORKLOAD = f"this is used in Pod names and hostnames, {SURPRISING}"

Warnings = Callable[[Any, Any], Iterator[str]]


def template_warnings(template_of: Callable[[Any], PodTemplateSpec | None], at: str, *, named: bool = True) -> Warnings:
    """For a kind that makes pods; `named`: their names begin with its own."""

    def warnings(new: Any, old: Any) -> Iterator[str]:
        if old is not None and old.metadata.generation and old.metadata.generation == new.metadata.generation:
            return
        if old is None and named:
            yield from name_warnings(new.metadata, OF_A_WORKLOAD)
        template = template_of(new)
        if template is not None:
            yield from pod_warnings(template.spec, template.metadata, f"{at}.", template=True)

    return warnings


def name_warnings(meta: ObjectMeta, why: str) -> Iterator[str]:
    wrong = list(names.dns1123_label(meta.name or ""))
    if wrong:
        yield f"metadata.name: {why}: [{' '.join(wrong)}]"


def pod_warnings(spec: PodSpec, meta: ObjectMeta, at: str, *, template: bool = False) -> Iterator[str]:
    """`at` ends with a dot, or is empty."""
    yield from label_warnings(spec, f"{at}spec")
    for key, message in ANNOTATIONS.items():
        if key in (meta.annotations or {}):
            yield f"{at}metadata.annotations[{key}]: {message}"
    for index, volume in enumerate(spec.volumes or ()):
        yield from volume_warnings(volume, f"{at}spec.volumes[{index}]")
    yield from overlap_warnings(spec.volumes or ())
    addresses = [alias.ip for alias in spec.host_aliases or ()]
    for index in sorted(repeated(addresses)):
        yield f'{at}spec.hostAliases[{index}].ip: duplicate ip "{addresses[index]}"'
    secrets = [secret.name or "" for secret in spec.image_pull_secrets or ()]
    for index in sorted(repeated(secrets)):
        yield f'{at}spec.imagePullSecrets[{index}].name: duplicate name "{secrets[index]}"'
    for index, name in enumerate(secrets):
        if not name:
            yield f'{at}spec.imagePullSecrets[{index}].name: invalid empty name ""'
    yield from fractions(spec.overhead, f"{at}spec.overhead")
    yield from profile_warnings(spec, meta, at, template)
    for container, where in containers(spec, f"{at}spec"):
        if container.resources is not None:
            yield from fractions(container.resources.limits, f"{where}.resources.limits")
            yield from fractions(container.resources.requests, f"{where}.resources.requests")
        yield from env_warnings(container, where)
    yield from port_warnings(spec, f"{at}spec")
    if (spec.termination_grace_period_seconds or 0) < 0:
        here = f"{at}spec.terminationGracePeriodSeconds"
        yield f"{here}: must be >= 0; negative values are invalid and will be treated as 1"
    yield from affinity_warnings(spec.affinity, f"{at}spec.affinity")
    if spec.dns_config is not None:
        yield from all_ip_warnings(f"{at}spec.dnsConfig.nameservers", spec.dns_config.nameservers)
    for index, address in enumerate(addresses):
        yield from ip_warnings(f"{at}spec.hostAliases[{index}].ip", address)


def containers(spec: PodSpec, at: str) -> Iterator[tuple[Container, str]]:
    for field, found in (("initContainers", spec.init_containers or ()), ("containers", spec.containers)):
        yield from ((container, f"{at}.{field}[{index}]") for index, container in enumerate(found))


def label_warnings(spec: PodSpec, at: str) -> Iterator[str]:
    """Of labels of nodes that have another name by now."""
    for key in spec.node_selector or {}:
        if key in NODE_LABELS:
            yield f"{at}.nodeSelector[{key}]: {NODE_LABELS[key]}"
    nodes = spec.affinity.node_affinity if spec.affinity else None
    if nodes is not None:
        here = f"{at}.affinity.nodeAffinity"
        needed = nodes.required_during_scheduling_ignored_during_execution
        for index, term in enumerate(needed.node_selector_terms if needed else ()):
            where = f"{here}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]"
            yield from term_warnings(term, where)
        for index, liked in enumerate(nodes.preferred_during_scheduling_ignored_during_execution or ()):
            where = f"{here}.preferredDuringSchedulingIgnoredDuringExecution[{index}].preference"
            yield from term_warnings(liked.preference, where)
            yield from value_warnings(liked.preference, where)
    for index, spread in enumerate(spec.topology_spread_constraints or ()):
        where, key = f"{at}.topologySpreadConstraints[{index}]", spread.topology_key
        if key in NODE_LABELS:
            yield f"{where}.topologyKey: {key} is {NODE_LABELS[key]}"
        if spread.label_selector is None:
            yield f"{where}.labelSelector: {NO_SELECTOR}"


def value_warnings(term: NodeSelectorTerm, at: str) -> Iterator[str]:
    """Of values that no label can have, which only a liked term may name."""
    for index, wanted in enumerate(term.match_expressions or ()):
        for place, value in enumerate(wanted.values or ()):
            for wrong in names.label_value(value):
                yield f"{at}.matchExpressions[{index}].values[{place}]: {value} is invalid, {wrong}"


def volume_warnings(volume: Volume, at: str) -> Iterator[str]:
    for field, name, message in VOLUMES:
        if getattr(volume, field) is not None:
            yield f"{at}.{name}: {message}"


def fractions(amounts: Any, at: str) -> Iterator[str]:
    """Part of a byte, as in `memory: 100m`: most likely `M` was meant."""
    for name in ("memory", "ephemeral-storage"):
        amount = (amounts or {}).get(name)
        if amount is not None and milli(amount) % 1000:
            yield f'{at}[{name}]: fractional byte value "{amount}" is invalid, must be an integer'


def profile_warnings(spec: PodSpec, meta: ObjectMeta, at: str, template: bool) -> Iterator[str]:
    """Of annotations that had a field's meaning before there was the field."""
    annotations, of_pod = meta.annotations or {}, spec.security_context
    if SECCOMP_POD in annotations and (of_pod is None or of_pod.seccomp_profile is None):
        yield f"{at}metadata.annotations[{SECCOMP_POD}]: {USE_SECCOMP}"
    for container, _ in containers(spec, ""):
        own, key = container.security_context, SECCOMP_CONTAINER + container.name
        if key in annotations and (own is None or own.seccomp_profile is None):
            yield f"{at}metadata.annotations[{key}]: {USE_SECCOMP}"
        key = APP_ARMOR + container.name
        given = any(context is not None and context.app_armor_profile is not None for context in (of_pod, own))
        if template and key in annotations and not given:
            yield f"{at}metadata.annotations[{key}]: {USE_APPARMOR}"


def env_warnings(container: Container, at: str) -> Iterator[str]:
    """A variable that is set again, unless it builds upon what it was."""
    variables = container.env or ()
    for index in sorted(repeated([variable.name for variable in variables])):
        variable = variables[index]
        reference = f"$({variable.name})"
        value = variable.value or ""
        if variable.value_from is not None or value == reference or reference not in value:
            hides = f'hides previous definition of "{variable.name}", which may be dropped when using apply'
            yield f"{at}.env[{index}]: {hides}"


def port_warnings(spec: PodSpec, at: str) -> Iterator[str]:
    taken: defaultdict[tuple[int, str], Taken] = defaultdict(Taken)
    for container, where in containers(spec, at):
        for index, port in enumerate(container.ports or ()):
            here = f"{where}.ports[{index}]"
            if port.host_ip and not port.host_port:
                yield f"{here}: hostIP set without hostPort: {go_text(port)}"
            others = taken[port.container_port, port.protocol or ""]
            for _, there, other in others.clashing(port):
                yield f"{here}: {clash_of(port, other)} port definition with {there}"
            others.add(here, port)
    yield from port_name_warnings(spec, at)


Found = list[tuple[int, str, ContainerPort]]


class Taken:
    """Ports of one number, by what they may clash with: none is compared with all, of which there may be many."""

    def __init__(self) -> None:
        self.count = 0
        self.found: defaultdict[tuple[str, str | int], Found] = defaultdict(list)

    def add(self, at: str, port: ContainerPort) -> None:
        self.count += 1
        for key in (ALL, ("port", port.host_port or 0), ("pair", pair_of(port))):
            self.found[key].append((self.count, at, port))

    def clashing(self, port: ContainerPort) -> Iterator[tuple[int, str, ContainerPort]]:
        """In the order in which they stand."""
        if not port.host_port:
            keys: tuple[tuple[str, str | int], ...] = (ALL,)
        elif not port.host_ip:
            keys = (("port", 0), ("port", port.host_port))
        else:
            keys = (("port", 0), ("pair", f":{port.host_port}"), ("pair", pair_of(port)))
        return merge(*(self.found.get(key, ()) for key in keys), key=itemgetter(0))


ALL = ("all", "")


def pair_of(port: ContainerPort) -> str:
    return f"{port.host_ip or ''}:{port.host_port or 0}"


def port_name_warnings(spec: PodSpec, at: str) -> Iterator[str]:
    first: dict[str, str] = {}
    for container, where in containers(spec, at):
        for index, port in enumerate(container.ports or ()):
            here = f"{where}.ports[{index}]"
            there = first.setdefault(port.name, here) if port.name else here
            if there != here:
                which = f"services and probes that select ports by name will use {there}"
                yield f'{here}: duplicate port name "{port.name}" with {there}, {which}'


def go_text(port: ContainerPort) -> str:
    """As Go prints the struct."""
    told = f"Name:{port.name or ''} HostPort:{port.host_port or 0} ContainerPort:{port.container_port}"
    return f"{{{told} Protocol:{port.protocol or ''} HostIP:{port.host_ip}}}"


def clash_of(port: ContainerPort, other: ContainerPort) -> str:
    if pair_of(port) == pair_of(other):
        return "duplicate"
    return "dangerously ambiguous" if port.host_port and other.host_port else "overlapping"


def affinity_warnings(affinity: Affinity | None, at: str) -> Iterator[str]:
    if affinity is None:
        return
    kinds: tuple[tuple[str, PodAffinity | PodAntiAffinity | None], ...] = (
        ("podAffinity", affinity.pod_affinity),
        ("podAntiAffinity", affinity.pod_anti_affinity),
    )
    for name, found in kinds:
        if found is None:
            continue
        for index, term in enumerate(found.required_during_scheduling_ignored_during_execution or ()):
            if term.label_selector is None:
                yield f"{at}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{index}].labelSelector: {NO_SELECTOR}"
        for index, liked in enumerate(found.preferred_during_scheduling_ignored_during_execution or ()):
            if liked.pod_affinity_term.label_selector is None:
                here = f"{at}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{index}].podAffinityTerm"
                yield f"{here}.labelSelector: {NO_SELECTOR}"
