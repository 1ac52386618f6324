"""What everything with a selector and a pod template has in common: the one must match the other's labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kybern.api import selectors
from kybern.api.core_v1 import PodTemplateSpec
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.api.meta_v1 import LabelSelector
from kybern.registry.checks import label_selector, not_negative
from kybern.registry.podspec.spec import validate_template

DO_NOT_MATCH = "`selector` does not match template `labels`"
REPLICAS_DEFAULT = 1
REVISION_HISTORY_DEFAULT = 10


def selector_of(obj: Any) -> str:
    """The selector in the text form that a Scale carries."""
    try:
        return str(selectors.of_label_selector(obj.spec.selector))
    except ValueError:
        return ""


def validate_selected(
    spec: Any, owner: str = "deployment", unreadable: str = "invalid label selector"
) -> Iterator[FieldError]:
    """A selector that is there, well-formed, not empty, and matches the pods that the template makes.

    `owner`: of what an empty one is said to be; of a ReplicaSet too upstream speaks as of a Deployment.
    """
    if is_missing(spec):
        yield required("spec.selector")
        yield mismatch(spec.template)
        return
    wrong = list(label_selector(spec.selector, "spec.selector"))
    yield from wrong
    if wrong:
        yield invalid_value("spec.selector", spec.selector, unreadable)
    elif is_empty(spec.selector):
        yield empty_selector(spec.selector, owner)
    elif spec.template is None:
        yield required("spec.template")
    elif not matches(spec.selector, spec.template):
        yield mismatch(spec.template)


def is_missing(spec: Any) -> bool:
    """Whether nobody gave a selector: what a decoded spec lacks is the one that stands in its type, and `{}` is another."""
    return spec.selector is type(spec)().selector


def is_empty(selector: LabelSelector) -> bool:
    return not selector.match_labels and not selector.match_expressions


def empty_selector(selector: LabelSelector, owner: str) -> FieldError:
    return invalid_value("spec.selector", selector, f"empty selector is invalid for {owner}")


def matches(selector: LabelSelector, template: PodTemplateSpec) -> bool:
    labels = template.metadata.labels or {}
    if not selector.match_expressions:
        return (selector.match_labels or {}).items() <= labels.items()
    return selectors.of_label_selector(selector).matches(labels)


def mismatch(template: PodTemplateSpec | None) -> FieldError:
    labels = template.metadata.labels if template is not None else None
    return invalid_value("spec.template.metadata.labels", labels, DO_NOT_MATCH)


def validate_lasting_template(template: PodTemplateSpec | None, at: str, owner: str) -> Iterator[FieldError]:
    """Pods that are replaced for ever: they restart always, and no deadline ends them."""
    if template is None:
        return
    yield from validate_template(template, at)
    if template.spec.restart_policy and template.spec.restart_policy != "Always":
        yield not_supported(f"{at}.spec.restartPolicy", template.spec.restart_policy, ("Always",))
    if template.spec.active_deadline_seconds is not None:
        why = f"activeDeadlineSeconds in {owner} is not Supported"
        yield forbidden_field(f"{at}.spec.activeDeadlineSeconds", why)


def validate_counts(spec: Any, at: str, *fields: tuple[str, str]) -> Iterator[FieldError]:
    for field, name in fields:
        yield from not_negative(f"{at}.{field}", getattr(spec, name))


@dataclass(frozen=True, slots=True)
class Counts:
    """What of a status counts pods: none less than zero, and some of them parts of others.

    Fields are told twice, as the API names them and as we do.
    """

    all: tuple[tuple[str, str], ...]
    within_replicas: tuple[tuple[str, str], ...] = ()
    available_of: str = ""
    """How upstream calls the ready ones where it says that more cannot be available; empty: it does not."""

    def __call__(self, new: Any, old: Any) -> Iterator[FieldError]:
        status, before = new.status, old.status
        yield from validate_counts(status, "status", *self.all)
        for field, name in self.within_replicas:
            count = getattr(status, name) or 0
            if count > (status.replicas or 0):
                yield invalid_value(f"status.{field}", count, "cannot be greater than status.replicas")
        if self.available_of and (status.available_replicas or 0) > (status.ready_replicas or 0):
            why = f"cannot be greater than {self.available_of}"
            yield invalid_value("status.availableReplicas", status.available_replicas, why)
        collisions = getattr(before, "collision_count", None)
        if collisions is not None and (status.collision_count or 0) < collisions:
            yield invalid_value("status.collisionCount", status.collision_count or 0, "cannot be decremented")


READY = ("readyReplicas", "ready_replicas")
AVAILABLE = ("availableReplicas", "available_replicas")
UPDATED = ("updatedReplicas", "updated_replicas")
OBSERVED = ("observedGeneration", "observed_generation")
COLLISIONS = ("collisionCount", "collision_count")
LABELED = ("fullyLabeledReplicas", "fully_labeled_replicas")
REPLICAS = ("replicas", "replicas")
TERMINATING = ("terminatingReplicas", "terminating_replicas")
OF_REPLICAS = Counts((REPLICAS, LABELED, READY, AVAILABLE, OBSERVED), (LABELED, READY, AVAILABLE), "readyReplicas")
