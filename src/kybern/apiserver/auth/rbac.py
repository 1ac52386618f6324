"""Role-based access control over a compiled index.

- Bindings are kept by subject, for the whole cluster and for each namespace; a decision looks at the bindings of this
  user and its groups only, never at all of them.
- Roles are kept compiled and looked up when asked, so a binding may come before its role.
- The index follows `Objects.on_change`: the next decision after an answered write sees it.
- Members of system:masters may do everything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject
from kybern.apiserver.auth.grants import Grants, compile_rules
from kybern.apiserver.auth.issuer import user_name
from kybern.apiserver.request import Attributes, Decision, Objects, User

MASTERS = "system:masters"
CLUSTER = ""  # the scope of bindings that hold everywhere

RoleKey = tuple[str, str]
"""(namespace, name); the namespace is empty for a ClusterRole."""
SubjectKey = tuple[str, str]
"""(kind, name); a service account is the user that it is."""

Binding = RoleBinding | ClusterRoleBinding


@dataclass(frozen=True, slots=True)
class Bound:
    """One subject of one binding."""

    role: RoleKey
    reason: str


@dataclass(slots=True)
class Rbac:
    roles: dict[RoleKey, Grants] = field(default_factory=dict)
    bindings: dict[tuple[str, str, str], dict[tuple[str, str], Bound]] = field(default_factory=dict)
    """(scope, subject kind, subject name) → (binding namespace, binding name) → what it binds."""

    def decide(self, attributes: Attributes) -> Decision:
        user = attributes.user
        if MASTERS in user.groups:
            return Decision(True)
        for bound, grants in self.granted(user, attributes.namespace if attributes.is_resource else CLUSTER):
            if allows(grants, attributes):
                return Decision(True, bound.reason)
        return Decision(False)

    def granted(self, user: User, namespace: str) -> Iterator[tuple[Bound, Grants]]:
        """Every role that this user has there, the cluster-wide ones first."""
        subjects = (("User", user.name), *(("Group", group) for group in user.groups))
        for scope in (CLUSTER, namespace) if namespace else (CLUSTER,):
            for subject in subjects:
                for bound in self.bindings.get((scope, *subject), {}).values():
                    grants = self.roles.get(bound.role)
                    if grants is not None:
                        yield bound, grants

    def rules_for(self, user: User, namespace: str) -> list[PolicyRule]:
        return [rule for _, grants in self.granted(user, namespace) for rule in grants.rules]

    def role_changed(self, old: Role | ClusterRole | None, new: Role | ClusterRole | None) -> None:
        if new is None and old is not None:
            self.roles.pop(key_of(old), None)
        elif new is not None:
            self.roles[key_of(new)] = compile_rules(new.rules)

    def binding_changed(self, old: Binding | None, new: Binding | None) -> None:
        if old is not None:
            for subject in old.subjects or ():
                at = (key_of(old)[0], *subject_key(subject, key_of(old)[0]))
                self.bindings.get(at, {}).pop(key_of(old), None)
                if not self.bindings.get(at):
                    self.bindings.pop(at, None)
        if new is not None:
            scope = key_of(new)[0]
            for subject in new.subjects or ():
                at = (scope, *subject_key(subject, scope))
                self.bindings.setdefault(at, {})[key_of(new)] = bound_by(new, subject)


def following(objects: Objects) -> Rbac:
    """An index that holds what is there and is kept current from now on."""
    rbac = Rbac()
    follow: list[tuple[type[Any], Callable[[Any, Any], None]]] = [
        (Role, rbac.role_changed),
        (ClusterRole, rbac.role_changed),
        (RoleBinding, rbac.binding_changed),
        (ClusterRoleBinding, rbac.binding_changed),
    ]
    for kind, changed in follow:
        objects.on_change(kind, changed)
        for obj in objects.list(kind):
            changed(None, obj)
    return rbac


def allows(grants: Grants, attributes: Attributes) -> bool:
    a = attributes
    if a.is_resource:
        return grants.allows(a.verb, a.group, a.resource, a.subresource, a.name)
    return grants.allows_url(a.verb, a.path)


def key_of(obj: Role | ClusterRole | Binding) -> tuple[str, str]:
    return (obj.metadata.namespace or CLUSTER, obj.metadata.name or "")


def subject_key(subject: Subject, scope: str) -> SubjectKey:
    if subject.kind == "ServiceAccount":
        namespace = subject.namespace or scope
        # Without a namespace it names nobody; no user name is empty.
        return ("User", user_name(namespace, subject.name) if namespace else "")
    return (subject.kind, subject.name)


def role_of(binding: Binding) -> RoleKey:
    """A ClusterRoleBinding that names a Role names nothing: `*` is no namespace."""
    namespace = "" if binding.role_ref.kind == "ClusterRole" else binding.metadata.namespace or "*"
    return (namespace, binding.role_ref.name)


def bound_by(binding: Binding, subject: Subject) -> Bound:
    """With the reason that upstream gives for what it allows."""
    namespace, name = key_of(binding)
    kind, title = ("RoleBinding", f"{name}/{namespace}") if namespace else ("ClusterRoleBinding", name)
    who = f"{subject.name}/{subject.namespace or namespace}" if subject.kind == "ServiceAccount" else subject.name
    return Bound(
        role_of(binding),
        f'RBAC: allowed by {kind} "{title}" of {binding.role_ref.kind} "{binding.role_ref.name}" '
        f'to {subject.kind} "{who}"',
    )
