"""Making room for a critical pod that the node has none for: whom to end, so that as little as possible is lost.

BestEffort pods go before Burstable ones, those before Guaranteed; among these as few as will do, the small ones first.
A pod is never ended for one that is not more important.
"""

from collections.abc import Iterable, Mapping, Sequence

from kybern.api.core_v1 import Pod
from kybern.kubelet.eviction.ranking import is_critical
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import pod_requests
from kybern.kubelet.status import Verdict

PREEMPTED = Verdict("Preempting", "Preempted in order to admit critical pod", disrupts=True)

Needs = Mapping[str, int]
"""What is lacking, in thousandths; pods by number."""


def victims(pod: Pod, others: Iterable[Pod], needs: Needs) -> list[Pod] | None:
    """None where no pods that may be ended have as much."""
    below = [other for other in others if _yields(pod, other)]
    levels = [[o for o in below if qos_class(o) == level] for level in ("Guaranteed", "Burstable", "BestEffort")]
    if _left(needs, below):
        return None
    chosen: list[Pod] = []
    for index, level in enumerate(levels):
        spared = [other for later in levels[index + 1 :] for other in later]
        chosen += _nearest(level, _left(needs, [*spared, *chosen]))
    return chosen


def _yields(pod: Pod, other: Pod) -> bool:
    if is_critical(pod) != is_critical(other):
        return is_critical(pod)
    return (pod.spec.priority or 0) > (other.spec.priority or 0)


def _left(needs: Needs, pods: Iterable[Pod]) -> Needs:
    """What is still lacking once these are gone."""
    gone = [_takes(pod) for pod in pods]
    left = {name: amount - sum(each.get(name, 0) for each in gone) for name, amount in needs.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _takes(pod: Pod) -> Mapping[str, int]:
    return {**pod_requests(pod), "pods": 1000}


def _nearest(pods: Sequence[Pod], needs: Needs) -> list[Pod]:
    """Each time the one that has most of what is lacking, by shares of it; of equals the smaller."""
    chosen: list[Pod] = []
    rest = list(pods)
    while needs and rest:

        def distance(pod: Pod, lacking: Needs = needs) -> tuple[float, int, int]:
            takes = _takes(pod)
            short = sum((max(amount - takes.get(name, 0), 0) / amount) ** 2 for name, amount in lacking.items())
            return short, takes.get("memory", 0), takes.get("cpu", 0)

        found = min(rest, key=distance)
        rest.remove(found)
        chosen.append(found)
        needs = _left(needs, [found])
    return chosen
