"""A pod's group: what its services and its owner select. Pods that ask for no spread of their own are spread by it."""

from kybern.api.apps_v1 import ReplicaSet, StatefulSet
from kybern.api.core_v1 import Pod, ReplicationController, Service
from kybern.api.selectors import Requirement, Selector, of_labels
from kybern.client import View
from kybern.scheduler.terms import selector_of

FOLLOWED = (Service, ReplicationController, ReplicaSet, StatefulSet)


def group_of(pod: Pod, view: View) -> Selector | None:
    """None where nothing selects it."""
    namespace, labels = pod.metadata.namespace or "", pod.metadata.labels or {}
    asked: dict[str, str] = {}
    for service in view.list(Service, namespace):
        selector = service.spec.selector
        if selector and selector.items() <= labels.items():
            asked |= selector
    requirements = (*of_labels(asked).requirements, *of_owner(pod, namespace, view))
    return Selector(requirements) if requirements else None


def of_owner(pod: Pod, namespace: str, view: View) -> tuple[Requirement, ...]:
    owner = next((ref for ref in pod.metadata.owner_references or () if ref.controller), None)
    match (owner.kind, owner.api_version) if owner else ("", ""):
        case ("ReplicationController", "v1"):
            rc = view.get(ReplicationController, owner.name if owner else "", namespace)
            return of_labels(rc.spec.selector).requirements if rc else ()
        case ("ReplicaSet", "apps/v1"):
            rs = view.get(ReplicaSet, owner.name if owner else "", namespace)
            return selector_of(rs.spec.selector).requirements if rs else ()
        case ("StatefulSet", "apps/v1"):
            sts = view.get(StatefulSet, owner.name if owner else "", namespace)
            return selector_of(sts.spec.selector).requirements if sts else ()
    return ()
