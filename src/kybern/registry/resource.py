"""A Resource: one value that tells the generic machine how a kind is served.

The machine calls the rules in this order; objects are the kind's Struct, or a custom object:

    create   default → (admission) → on_create → validate                    → stored
    update   default → (admission) → on_update(new, old) → validate_update   → stored
    delete   grace_seconds(object, asked) → marked, or removed

A rule returns a new value and never changes the one it was given. A rule that needs the cluster, the time or chance is
not a rule: it is admission (`apiserver.admission`) or a controller.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.api.codec import encode
from kybern.api.invalid import FieldError
from kybern.api.kind import Kind

LARGE_BYTES = 4096
"""Of what is compiled: some ten microseconds for each, at worst."""

Obj = Any
"""A generated Struct, or an `api.custom.CustomObject`."""


def same(obj: Obj) -> Obj:
    return obj


def keep_new(new: Obj, old: Obj) -> Obj:
    return new


def nothing_wrong(*_: Obj) -> Iterable[FieldError]:
    return ()


def no_warnings(*_: Obj) -> Iterable[str]:
    return ()


def no_conditions(obj: Obj) -> tuple[Mapping[str, str], ...]:
    return ()


def not_held(obj: Obj) -> bool:
    return False


def not_long(obj: Obj) -> bool:
    return False


def is_large(obj: Obj) -> bool:
    """Whether a definition, or anything with expressions, is so large that others would wait while it is compiled."""
    return len(encode(obj)) > LARGE_BYTES


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`, as the server prints it (meta/v1 Table)."""

    name: str
    cell: Callable[[Obj, float], Any]
    """(object, now in seconds since 1970) -> a JSON scalar."""
    type: str = "string"
    format: str = ""
    priority: int = 0
    """0 always, 1 with `-o wide`."""
    description: str = ""
    of: str = ""
    """The field whose description is the column's: `core_v1.PodStatus.podIP`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """A part of an object with its own address: `status`, `scale`, `binding`.

    `read` makes its body out of the object; `write(object, body, uid of the request's precondition or "")` puts a body
    back. A subresource without `write` is read-only; one with neither (`exec`, `log`, `proxy`, `token`, `eviction`) is
    handled by the API server itself.
    """

    name: str
    kind: Kind | None = None
    """None: the parent's own kind."""
    verbs: tuple[str, ...] = ("get", "patch", "put")
    read: Callable[[Obj], Obj] | None = None
    write: Callable[[Obj, Obj], Obj] | None = None
    """(object as stored, body) -> object to store. Raises ApiError where the body cannot be honoured."""
    validate: Callable[[Obj, Obj], Iterable[FieldError]] = nothing_wrong
    """(object to store, object as stored)."""
    warnings: Callable[[Obj, Obj], Iterable[str]] = no_warnings
    """Likewise; the resource's own are for who writes the whole object."""
    replicas: tuple[str, ...] = ()
    """Of `scale`: where the object keeps how many there are to be. That is all of the object that is applied to."""
    columns: tuple[Column, ...] = ()
    """Of a body of another kind: how it is printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    kind: Kind
    singular: str = ""
    """Empty: the kind in lower case."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    storage_prefix: str = ""
    """Upstream's place in the store, `/registry/services/specs` say; see `prefix`."""
    default: Callable[[Obj], Obj] = same
    default_in: str = ""
    """The one part that `default` looks at, where it is one: who leaves that alone writes a whole object."""
    on_create: Callable[[Obj], Obj] = same
    on_update: Callable[[Obj, Obj], Obj] = keep_new
    """(new, old) -> what may be stored: keeps the status, and whatever else this verb may not change."""
    validate: Callable[[Obj], Iterable[FieldError]] = nothing_wrong
    validate_update: Callable[[Obj, Obj], Iterable[FieldError]] | None = None
    """(new, old); None: `validate(new)`."""
    validates_long: Callable[[Obj], bool] = not_long
    """Whether the two can take long enough for others to notice: then they are asked beside the loop."""
    warnings: Callable[[Obj, Obj], Iterable[str]] = no_warnings
    """(new, old or None)"""
    deprecation: str = ""
    """A warning to everybody who asks for this version; empty: none."""
    validate_name: Callable[[str], Iterable[str]] | None = None
    """What is wrong with a name, in upstream's words; None: a DNS subdomain."""
    own_finalizers: bool = False
    """Its finalizers need not name a domain: custom objects'."""
    generation: Callable[[Obj], Obj] | None = None
    """The part of the object whose change raises metadata.generation; None: the resource does not count it."""
    subresources: tuple[Subresource, ...] = ()
    selectable: Mapping[str, Callable[[Obj], str]] = field(default_factory=dict)
    """Field selectors besides metadata.name and metadata.namespace."""
    not_selectable: str = "field label not supported: {}"
    """What is said of a field selector that it does not have."""
    selectable_part: type[Any] | None = None
    """A Struct with the only fields that `selectable` looks at, where reading whole objects for it takes too long."""
    columns: tuple[Column, ...] = ()
    """Empty: Name and Created At."""
    table_order: Callable[[Obj], Any] | None = None
    """By what the rows of a table are sorted; None: as the list is."""
    row_conditions: Callable[[Obj], tuple[Mapping[str, str], ...]] = no_conditions
    """What the rows of a table say of their objects besides the cells (meta/v1 TableRowCondition). Pods only, upstream."""
    grace_seconds: Callable[[Obj, int | None], int] | None = None
    """(object, seconds asked for or None) -> seconds; None: deletion is immediate. Pods only, upstream."""
    on_delete: Callable[[Obj], Obj] = same
    """What being deleted changes while something still holds the object, besides its metadata: a namespace's phase."""
    held: Callable[[Obj], bool] = not_held
    """Whether something besides metadata.finalizers keeps a deleted object: a namespace's own finalizers."""
    create_on_update: bool = False
    """PUT of a name that does not exist creates it."""
    version_needed: bool = False
    """A PUT must say which version of the object it replaces."""
    to_storage: Callable[[Obj], Obj] = same
    """For a kind that shares its storage with another version: what is stored."""
    from_storage: Callable[[Obj], Obj] = same

    @property
    def prefix(self) -> str:
        """Where its objects live in the store, upstream's layout, without a closing slash."""
        if self.storage_prefix:
            return self.storage_prefix
        return f"/registry/{self.kind.plural}"

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}/{namespace}/{name}" if self.kind.namespaced else f"{self.prefix}/{name}"
