"""Nobody grants more than they hold: writing roles needs every permission in them, or the right to `escalate`; writing
bindings needs those of the role, or the right to `bind` it. Upstream checks this where it stores these kinds.
"""

from collections.abc import Sequence

from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.auth.grants import broken_down, compile_rules
from kybern.apiserver.auth.rbac import MASTERS
from kybern.apiserver.request import Admission, Attributes, User

GROUP = "rbac.authorization.k8s.io"
ROLES = (Role, ClusterRole)
BINDINGS = (RoleBinding, ClusterRoleBinding)
EVERYTHING = (
    PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",)),
    PolicyRule(verbs=("*",), non_resource_urls=("*",)),
)


class RbacEscalation(Plugin):
    name = "RBACEscalation"
    kinds = (*ROLES, *BINDINGS)

    async def validate(self, admission: Admission) -> None:
        if MASTERS in admission.user.groups:
            return
        if any(is_write_of(admission, kind) for kind in ROLES):
            await self.check_role(admission)
        elif any(is_write_of(admission, kind) for kind in BINDINGS):
            await self.check_binding(admission)

    async def check_role(self, admission: Admission) -> None:
        role, old = admission.object, admission.old
        aggregation = getattr(role, "aggregation_rule", None)
        same = old is not None and old.rules == role.rules and getattr(old, "aggregation_rule", None) == aggregation
        if same or await self.may(admission, "escalate", admission.resource.kind.plural, role.metadata.name or ""):
            return
        aggregates_anew = aggregation is not None and (old is None or old.aggregation_rule != aggregation)
        if aggregates_anew and self.missing(admission, EVERYTHING):
            raise refused(admission, "must have cluster-admin privileges to use an aggregationRule")
        self.check_rules(admission, role.rules or ())

    async def check_binding(self, admission: Admission) -> None:
        binding, old = admission.object, admission.old
        if old is not None and (old.subjects, old.role_ref) == (binding.subjects, binding.role_ref):
            return
        kind, name = binding.role_ref.kind, binding.role_ref.name
        plural = "clusterroles" if kind == "ClusterRole" else "roles"
        if await self.may(admission, "bind", plural, name):
            return
        role: Role | ClusterRole | None
        if kind == "ClusterRole":
            role = self.objects.get(ClusterRole, name)
        else:
            role = self.objects.get(Role, name, admission.namespace)
        if role is None:
            raise refused(admission, f'{plural}.{GROUP} "{name}" not found')
        self.check_rules(admission, role.rules or ())

    async def may(self, admission: Admission, verb: str, plural: str, name: str) -> bool:
        attributes = Attributes(
            user=admission.user, verb=verb, group=GROUP, version="v1", resource=plural,
            namespace=admission.namespace, name=name,
        )  # fmt: skip
        return (await decided(self.inputs.authorizer, attributes)).allowed

    def check_rules(self, admission: Admission, rules: Sequence[PolicyRule]) -> None:
        missing = self.missing(admission, rules)
        if missing:
            raise refused(
                admission,
                f"{described(admission.user)} is attempting to grant RBAC permissions not currently held:\n"
                + "\n".join(map(printed_rule, compacted(missing))),
            )

    def missing(self, admission: Admission, rules: Sequence[PolicyRule]) -> list[PolicyRule]:
        held = compile_rules(self.inputs.rbac.rules_for(admission.user, admission.namespace))
        return [rule for rule in broken_down(rules) if not held.covers(rule)]


def described(user: User) -> str:
    groups = " ".join(f'"{group}"' for group in user.groups)
    return f'user "{user.name}" (groups=[{groups}])'


def compacted(rules: Sequence[PolicyRule]) -> list[PolicyRule]:
    """Rules that differ only in the verb, as one."""
    verbs: dict[PolicyRule, list[str]] = {}
    for rule in rules:
        key = PolicyRule(
            api_groups=rule.api_groups,
            resources=rule.resources,
            resource_names=rule.resource_names,
            non_resource_urls=rule.non_resource_urls,
        )
        verbs.setdefault(key, []).extend(rule.verbs)
    return [
        PolicyRule(
            verbs=tuple(dict.fromkeys(found)),
            api_groups=key.api_groups,
            resources=key.resources,
            resource_names=key.resource_names,
            non_resource_urls=key.non_resource_urls,
        )
        for key, found in verbs.items()
    ]


def printed_rule(rule: PolicyRule) -> str:
    parts = {
        "APIGroups": rule.api_groups,
        "Resources": rule.resources,
        "ResourceNames": rule.resource_names,
        "NonResourceURLs": rule.non_resource_urls,
        "Verbs": rule.verbs,
    }
    shown = [f"{name}:[" + " ".join(f'"{value}"' for value in values) + "]" for name, values in parts.items() if values]
    return "{" + ", ".join(shown) + "}"
