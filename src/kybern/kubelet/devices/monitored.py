"""Who has which CPUs, memory and devices, and what there is to have: as the pod resources API tells monitors."""

from collections.abc import Iterable, Mapping
from typing import Any

from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Container, Pod
from kybern.kubelet.devices.claims import claim_names
from kybern.kubelet.devices.inventory import HEALTHY
from kybern.kubelet.parts import Parts
from kybern.kubelet.restarts import is_sidecar

Json = dict[str, Any]


def pods_told(parts: Parts, pods: Iterable[Pod]) -> list[Json]:
    return [
        {
            "name": pod.metadata.name,
            "namespace": pod.metadata.namespace,
            "containers": [_container(parts, pod, container) for container in _lasting(pod)],
        }
        for pod in pods
    ]


def _lasting(pod: Pod) -> tuple[Container, ...]:
    return (*filter(is_sidecar, pod.spec.init_containers or ()), *pod.spec.containers)


def _container(parts: Parts, pod: Pod, container: Container) -> Json:
    uid = pod.metadata.uid or ""
    given = parts.devices.of(uid, container.name)
    return {
        "name": container.name,
        "cpus": parts.cpus.of_pod(uid).get(container.name, []),
        "memory": to_builtins(parts.memory.of_pod(uid).get(container.name, [])),
        "devices": {resource: _by_nodes(parts, resource, ids) for resource, ids in given.items()},
        "claims": _claims(parts, pod, container),
    }


def _claims(parts: Parts, pod: Pod, container: Container) -> list[Json]:
    found: dict[str, list[Any]] = {}
    for name, device in parts.claims.devices_of(pod.metadata.uid or "", container):
        found.setdefault(name, []).append([device.driver, device.pool, device.device, device.cdi])
    names = claim_names(pod) if found else {}
    return [{"name": names.get(name, name), "devices": devices} for name, devices in found.items()]


def _by_nodes(parts: Parts, resource: str, ids: Iterable[str]) -> list[tuple[list[str], list[int]]]:
    known = parts.devices.devices.get(resource, {})
    found: dict[tuple[int, ...], list[str]] = {}
    for identifier in ids:
        found.setdefault(known[identifier].nodes if identifier in known else (), []).append(identifier)
    return [(each, list(nodes)) for nodes, each in found.items()]


def allocatable_told(parts: Parts) -> Json:
    devices: Mapping[str, list[str]] = {
        resource: [identifier for identifier, device in known.items() if device.health == HEALTHY]
        for resource, known in parts.devices.devices.items()
    }
    memory = parts.memory.allocatable() if parts.memory.policy.static else {}
    return {
        "cpus": sorted(parts.cpus.allocatable()),
        "memory": [
            {"kind": kind, "size": size, "nodes": [number]}
            for number, kinds in memory.items()
            for kind, size in kinds.items()
            if size
        ],
        "devices": {resource: _by_nodes(parts, resource, ids) for resource, ids in devices.items()},
    }
