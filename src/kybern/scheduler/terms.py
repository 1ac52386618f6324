"""What a pod says about other pods: which ones it wants near it, or far from it, and what near means (a label of nodes).

- `Which` is a set of pods; `Term` adds the topology key. Both are values: equal terms of many pods are counted once.
- Keys in matchLabelKeys and mismatchLabelKeys stand for requirements with the pod's own values.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import Pod, PodAffinityTerm
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import NOTHING, Requirement, Selector, of_label_selector

REQUIRED = 0  # in the place of a weight: the plugin's settings say what a required term is worth

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Which:
    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector = NOTHING

    def matches(self, namespace: str, labels: Labels, namespaces: Mapping[str, Labels]) -> bool:
        """`namespaces`: each one's labels."""
        meant = namespace in self.namespaces or self.namespace_selector.matches(namespaces.get(namespace))
        return meant and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Term:
    which: Which
    topology_key: str


@dataclass(frozen=True, slots=True)
class Terms:
    affinity: tuple[Term, ...] = ()
    anti_affinity: tuple[Term, ...] = ()
    preferred: tuple[tuple[Term, int], ...] = ()
    """With their weights, below zero for anti-affinity."""

    def weights(self) -> Iterator[tuple[Term, int]]:
        """What this pod, where it runs, is worth to the pods that its terms match."""
        for term in self.affinity:
            yield term, REQUIRED
        yield from self.preferred


NO_TERMS = Terms()


def terms_of(pod: Pod) -> Terms:
    affinity = pod.spec.affinity
    if affinity is None or (affinity.pod_affinity is None and affinity.pod_anti_affinity is None):
        return NO_TERMS
    near, far = affinity.pod_affinity, affinity.pod_anti_affinity
    preferred = [
        (term_of(weighted.pod_affinity_term, pod), sign * weighted.weight)
        for sign, part in ((1, near), (-1, far))
        for weighted in (part.preferred_during_scheduling_ignored_during_execution if part else None) or ()
    ]
    return Terms(
        tuple(term_of(term, pod) for term in (near.required_during_scheduling_ignored_during_execution or ()))
        if near else (),
        tuple(term_of(term, pod) for term in (far.required_during_scheduling_ignored_during_execution or ()))
        if far else (),
        tuple(preferred),
    )  # fmt: skip


def term_of(term: PodAffinityTerm, pod: Pod) -> Term:
    selector = with_own_values(selector_of(term.label_selector), pod, term.match_label_keys, term.mismatch_label_keys)
    names = term.namespaces or ()
    if not names and term.namespace_selector is None:
        names = (pod.metadata.namespace or "",)
    return Term(Which(selector, frozenset(names), selector_of(term.namespace_selector)), term.topology_key)


def selector_of(selector: LabelSelector | None) -> Selector:
    """A selector that makes no sense selects nothing: its pod waits, the others go on."""
    try:
        return of_label_selector(selector)
    except ValueError:
        return NOTHING


def with_own_values(
    selector: Selector, pod: Pod, same: Iterable[str] | None, different: Iterable[str] | None = None
) -> Selector:
    labels = pod.metadata.labels or {}
    more = [Requirement(key, "in", (labels[key],)) for key in same or () if key in labels]
    more += [Requirement(key, "notin", (labels[key],)) for key in different or () if key in labels]
    return Selector((*selector.requirements, *more), selector.nothing)
