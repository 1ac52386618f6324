"""Which objects of a resource a list or watch is about: a namespace, labels, fields.

A `Selection` is asked about items of the cache. What is cheap is looked at first; fields other than name and namespace
make the parts that they lie in be decoded once, and stay on its item.
"""

from collections.abc import Callable
from dataclasses import dataclass
from sys import intern
from typing import Any

from kybern.api.codec import decode
from kybern.api.custom import is_custom
from kybern.api.errors import BadRequest
from kybern.api.selectors import FieldSelector, Selector, parse_fields, parse_labels
from kybern.apiserver.item import Item
from kybern.registry.resource import Resource

OWN_FIELDS = ("metadata.name", "metadata.namespace")

EVERYTHING = Selector()
ALL_FIELDS = FieldSelector()


@dataclass(frozen=True, slots=True)
class Selection:
    resource: Resource
    namespace: str = ""
    """Empty: all."""
    labels: Selector = EVERYTHING
    fields: FieldSelector = ALL_FIELDS

    @property
    def everything(self) -> bool:
        """Nothing but the namespace restricts it."""
        return self.labels.everything and self.fields.everything

    def takes(self, item: Item) -> bool:
        if self.namespace and item.namespace != self.namespace:
            return False
        if self.fields.requirements and not self.fields.matches(values(item, self.resource)):
            return False
        return not self.labels.requirements or self.labels.matches(item.labels)

    @property
    def name(self) -> str:
        """The one name that is asked for, if it is one."""
        return self.fields.exact("metadata.name") or ""


def values(item: Item, resource: Resource) -> Callable[[str], str]:
    """What an item has in its selectable fields."""

    def value_of(path: str) -> str:
        if path == "metadata.name":
            return item.name
        if path == "metadata.namespace":
            return item.namespace
        if item.fields is None:
            item.fields = read_fields(item, resource)
        return item.fields[[*resource.selectable].index(path)]

    return value_of


def read_fields(item: Item, resource: Resource) -> tuple[str, ...]:
    """Many objects have the same: the names of nodes and phases are kept once."""
    obj: Any = decode(resource.selectable_part or resource.kind.type, item.value)
    return tuple([intern(read(obj)) for read in resource.selectable.values()])


def selection_of(resource: Resource, namespace: str, label_text: str, field_text: str) -> Selection:
    """From the query's parameters; BadRequest in upstream's words where they cannot be understood."""
    if not label_text and not field_text:
        return Selection(resource, namespace)
    try:
        labels, fields = parse_labels(label_text), parse_fields(field_text)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    own = OWN_FIELDS if resource.kind.namespaced or not names_its_fields(resource) else OWN_FIELDS[:1]
    for term in fields.requirements:
        if term.path not in own and term.path not in resource.selectable:
            raise BadRequest(not_selectable(resource, term.path))
    return Selection(resource, namespace, labels, fields)


def names_its_fields(resource: Resource) -> bool:
    """Rather than having the two of everybody."""
    return bool(resource.selectable) or is_custom(resource.kind.type)


def not_selectable(resource: Resource, path: str) -> str:
    if names_its_fields(resource):
        return resource.not_selectable.format(path)
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
