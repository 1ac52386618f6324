"""Quality of service: who is killed last when a node runs out of memory.

Guaranteed: every container limits both CPU and memory, and requests as much. BestEffort: nobody asks for anything.
Burstable: all others.
"""

from kybern.api.core_v1 import PodSpec, ResourceRequirements

COUNTED = ("cpu", "memory")


def qos_class(spec: PodSpec) -> str:
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        judged = [spec.resources]
    else:
        judged = [c.resources or ResourceRequirements() for c in (*spec.containers, *(spec.init_containers or ()))]
    if not any(asks(resources) for resources in judged):
        return "BestEffort"
    return "Guaranteed" if all(map(guaranteed, judged)) else "Burstable"


def asks(resources: ResourceRequirements) -> bool:
    for amounts in (resources.requests, resources.limits):
        if amounts and any(amounts.get(name, "0") != "0" for name in COUNTED):
            return True
    return False


def guaranteed(resources: ResourceRequirements) -> bool:
    limits, requests = resources.limits or {}, resources.requests or {}
    return all(limits.get(name, "0") != "0" and requests.get(name, limits[name]) == limits[name] for name in COUNTED)
