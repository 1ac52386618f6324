"""The scheduler alone on 5,000 nodes, in the cases and against the gates of upstream's scheduler_perf (`make bench-scheduler`).

Decisions only: pods are told to a scheduler as its View would tell them, what it decides is told back as if the API server
had done it at once. Rates are per second of this process' CPU time, so they hold while other programs run.

    tools/bench_scheduler.py [--nodes N] [--no-classes] [CASE ...]
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Namespace, Node, Pod
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.client import Client, View
from kybern.scheduler import judgement
from kybern.scheduler.groups import FOLLOWED
from kybern.scheduler.scheduler import Scheduler
from kybern.web.http import Request, Response

ZONES = ("zone-1", "zone-2", "zone-3")
numbers = count(1)


class Silent:
    """Nobody hears of anything."""

    def event(self, obj: Any, type: str, reason: str, message: str) -> None: ...

    async def send(self, request: Request) -> Response:
        return Response(200, {}, b"{}")


@dataclass(frozen=True)
class Case:
    name: str
    gate: float
    """Pods per second in upstream's list."""
    first: int
    measured: int
    pod: Callable[[], Pod]
    before: Callable[[], Pod] | None = None
    """Pods that are there first; None: like the measured ones."""
    beside: Callable[[], Pod] | None = None
    """One comes now and then: five a second at upstream's gate."""


def pod(spec: dict[str, Any] | None = None, cpu: str = "100m", **labels: str) -> Pod:
    number = next(numbers)
    meta = {"name": f"pod-{number}", "namespace": "default", "uid": f"uid-{number}", "labels": labels}
    requests = {"requests": {"cpu": cpu, "memory": "500Mi"}}
    containers = {"containers": [{"name": "pause", "image": "pause:1", "resources": requests}]}
    return from_builtins(Pod, {"metadata": meta, "spec": {**containers, **(spec or {})}})


def term(key: str, **labels: str) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": labels}, "topologyKey": key}


def company(kind: str, key: str, *, preferred: bool = False) -> Callable[[], Pod]:
    one = term(key, color="green")
    terms = (
        {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": one}]}
        if preferred
        else {"requiredDuringSchedulingIgnoredDuringExecution": [one]}
    )
    return lambda: pod({"affinity": {kind: terms}}, color="green")


def spread(when: str) -> Callable[[], Pod]:
    constraint = {
        "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"color": "blue"}},
    }  # fmt: skip
    return lambda: pod({"topologySpreadConstraints": [constraint]}, color="blue")


def in_zone() -> Pod:
    needs = [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [ZONES[0], ZONES[1]]}]
    required = {"nodeSelectorTerms": [{"matchExpressions": needs}]}
    return pod({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})


HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
LOW = 900  # thousandths of a processor: four leave room for a small pod on a node with four processors


def with_port() -> Pod:
    ports = {"containers": [{"name": "a", "image": "pause:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}
    return pod({**ports, "priority": 10})


CASES = (
    Case("basic", 680, 1000, 10_000, pod),
    Case("unschedulable", 590, 100, 10_000, pod, beside=lambda: pod({"priority": 10}, cpu="9")),
    Case("preemption", 570, 20_000, 5000, pod, lambda: pod(cpu=f"{LOW}m"), lambda: pod({"priority": 10}, cpu="3")),
    Case("preemption for anti-affinity", 570, 5000, 1000, lambda: replaced(company("podAntiAffinity", HOSTNAME)(), 10),
         company("podAntiAffinity", HOSTNAME)),
    Case("preemption for a port", 570, 5000, 1000, with_port, lambda: replaced(with_port(), 0)),
    Case("node affinity", 220, 5000, 10_000, in_zone),
    Case("topology spread", 460, 5000, 5000, spread("DoNotSchedule"), pod),
    Case("topology spread, preferred", 340, 5000, 5000, spread("ScheduleAnyway"), pod),
    Case("anti-affinity", 60, 1000, 2000, company("podAntiAffinity", HOSTNAME)),
    Case("affinity", 35, 5000, 5000, company("podAffinity", ZONE)),
    Case("affinity, preferred", 90, 5000, 5000, company("podAffinity", HOSTNAME, preferred=True)),
    Case("anti-affinity, preferred", 90, 5000, 5000, company("podAntiAffinity", HOSTNAME, preferred=True)),
)  # fmt: skip


def replaced(one: Pod, priority: int) -> Pod:
    return replace(one, spec=replace(one.spec, priority=priority))


def node(number: int) -> Node:
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    name = f"node-{number}"
    labels = {HOSTNAME: name, ZONE: ZONES[number % len(ZONES)]}
    return from_builtins(Node, {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts}})


def scheduler_of(nodes: int) -> Scheduler:
    silent = Silent()
    client = Client(silent)
    view = View(client)
    scheduler = Scheduler(client, view, SystemClock(), Ids(1), silent)
    for kind in (Namespace, Node, Pod, PodDisruptionBudget, *FOLLOWED):
        view.watch_kind(kind)
    scheduler.namespace_changed(None, from_builtins(Namespace, {"metadata": {"name": "default"}}))
    for number in range(nodes):
        scheduler.node_changed(None, node(number))
    return scheduler


async def placed(scheduler: Scheduler, pods: Iterable[Pod]) -> None:
    """Tell of pods, decide about them, and tell that they are bound. Victims go at once."""
    for one in pods:
        scheduler.pod_changed(None, one)
        while (entry := scheduler.queue.pop(time.monotonic())) is not None:
            scheduler.tried(entry)
            uid = entry.pod.metadata.uid or ""
            known = scheduler.snapshot.placed.get(uid)
            if known is not None:
                bound = replace(entry.pod, spec=replace(entry.pod.spec, node_name=known.node))
                scheduler.pod_changed(entry.pod, bound)


async def rate(case: Case, nodes: int) -> float:
    scheduler = scheduler_of(nodes)
    await placed(scheduler, ((case.before or case.pod)() for _ in range(case.first)))
    each = max(1, int(case.gate / 5)) if case.beside else 0
    pods = []
    for number in range(case.measured):
        pods.append(case.pod())
        if case.beside and each and number % each == 0:
            pods.append(case.beside())
    began = time.process_time()
    await placed(scheduler, pods)
    return case.measured / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="beginnings of their names (default: all)")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--no-classes", action="store_true", help="judge every pod anew, as if no two were alike")
    args = parser.parse_args()
    if args.no_classes:
        judgement.SHAPES_MAX = 0
    print(f"{'CASE':32}{'HERE':>10}{'GATE':>8}{'RATIO':>8}")
    for case in CASES:
        if not args.cases or any(case.name.startswith(wanted) for wanted in args.cases):
            found = asyncio.run(rate(case, args.nodes))
            print(f"{case.name:32}{found:8,.0f}/s{case.gate:6,.0f}/s{found / case.gate:7.1f}x", flush=True)


if __name__ == "__main__":
    main()
