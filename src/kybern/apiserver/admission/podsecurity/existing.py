"""What a namespace that begins to enforce more is told of the pods that are in it: they stay, and would not come in again.

One pod of each controller is looked at first, so that of many the time is enough for all that differ.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Pod
from kybern.apiserver.admission.podsecurity.policy import Standard
from kybern.apiserver.admission.podsecurity.standards import violations

PODS_MAX = 3_000
SECONDS_MAX = 1.0
PODS_IN_A_TURN = 50


async def warnings_about(pods: Sequence[Pod], namespace: str, standard: Standard, clock: Clock) -> list[str]:
    ends = clock.monotonic() + SECONDS_MAX
    found: dict[str, list[str]] = {}
    """By what is wrong with them: the names of pods."""
    looked_at = 0
    for pod in in_order(pods)[:PODS_MAX]:
        reasons = ", ".join(one.reason for one in violations(standard, pod.spec, pod.metadata.annotations or {}))
        if reasons:
            found.setdefault(reasons, []).append(pod.metadata.name or "")
        looked_at += 1
        if looked_at % PODS_IN_A_TURN == 0:
            await asyncio.sleep(0)
            if clock.monotonic() > ends:
                break
    return list(told(found, looked_at, len(pods), namespace, standard))


def told(found: dict[str, list[str]], looked_at: int, count: int, namespace: str, standard: Standard) -> Iterator[str]:
    if looked_at < count:
        yield f"new PodSecurity enforce level only checked against the first {looked_at} of {count} existing pods"
    if found:
        yield f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
    yield from sorted(f"{some(names)}: {reasons}" for reasons, names in found.items())


def some(names: list[str]) -> str:
    others = len(names) - 1
    return min(names) + (f" (and {others} other pod{'s' if others > 1 else ''})" if others else "")


def in_order(pods: Iterable[Pod]) -> list[Pod]:
    first: list[Pod] = []
    alike: list[Pod] = []
    seen: set[str] = set()
    for pod in pods:
        uid = next((one.uid for one in pod.metadata.owner_references or () if one.controller), None)
        (alike if uid in seen else first).append(pod)
        if uid is not None:
            seen.add(uid)
    return first + alike
