"""Whether a webhook's or policy's rules and selectors take a request, and in which version they want to see it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kybern.api.core_v1 import Namespace
from kybern.api.errors import About, not_found
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import of_label_selector
from kybern.apiserver.admission.matching.rules import Rule, first_holding
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.request import Admission, Objects
from kybern.registry.resource import Resource

CONFIGURATION = "admissionregistration.k8s.io"
"""Whose own objects nobody is asked about: what locks everybody out could not be removed."""


class Criteria(Protocol):
    @property
    def namespace_selector(self) -> LabelSelector | None: ...
    @property
    def object_selector(self) -> LabelSelector | None: ...
    @property
    def match_policy(self) -> str | None: ...


class Matcher:
    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def is_exempt(self, admission: Admission) -> bool:
        return admission.internal or admission.resource.kind.group == CONFIGURATION

    async def match(self, criteria: Criteria, rules: Sequence[Rule], admission: Admission) -> Versioned | None:
        """The request in the version that a rule names; None where it is none of theirs. NotFound where its namespace,
        whose labels decide, is not there."""
        if not rules:
            return None
        operation = "CREATE" if admission.posted is not None else admission.operation
        found = first_holding(rules, [admission.resource], admission.subresource, operation)
        if found is None and criteria.match_policy != "Exact":
            found = first_holding(rules, self.equivalents(admission.resource), admission.subresource, operation)
        if found is None:
            return None
        return await self.selected(criteria, Versioned(admission, found))

    async def selected(self, criteria: Criteria, versioned: Versioned) -> Versioned | None:
        if not self.namespace_matches(criteria.namespace_selector, versioned):
            return None
        await versioned.look(self.objects)
        return versioned if object_matches(criteria.object_selector, versioned) else None

    def equivalents(self, resource: Resource) -> list[Resource]:
        """The other versions of the same objects."""
        return [each for each in self.objects.resources() if each is not resource and each.prefix == resource.prefix]

    def namespace_matches(self, selector: LabelSelector | None, versioned: Versioned) -> bool:
        wanted = of_label_selector(selector) if selector is not None else None
        if wanted is None or wanted.everything:
            return True
        admission = versioned.admission
        if admission.resource.kind.type is Namespace:
            return wanted.matches(self.labels_of_namespace(admission))
        if not admission.resource.kind.namespaced:
            return True
        return wanted.matches(self.namespace(admission.namespace).metadata.labels)

    def labels_of_namespace(self, admission: Admission) -> Mapping[str, str] | None:
        """What is being written counts, not what was."""
        obj = admission.object if admission.operation in ("CREATE", "UPDATE") else admission.old
        found = obj if isinstance(obj, Namespace) else self.namespace(admission.name)
        return found.metadata.labels

    def namespace(self, name: str) -> Namespace:
        found = self.objects.get(Namespace, name)
        if found is None:
            raise not_found(About(resource="namespaces", name=name))
        return found


def object_matches(selector: LabelSelector | None, versioned: Versioned) -> bool:
    """The object as it is or as it was; what has no labels at all (a connection) is never meant by a selector."""
    wanted = of_label_selector(selector) if selector is not None else None
    if wanted is None or wanted.everything:
        return True
    found = [obj for obj in (versioned.object, versioned.old) if obj is not None and "metadata" in obj]
    return any(wanted.matches(obj["metadata"].get("labels")) for obj in found)
