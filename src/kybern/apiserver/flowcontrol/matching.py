"""Which FlowSchema a request is of: the first, in order of precedence, that names its user and what it asks for."""

from collections.abc import Iterable, Sequence

from kybern.api.flowcontrol_v1 import (
    FlowSchema,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    ResourcePolicyRule,
    Subject,
)
from kybern.apiserver.auth.issuer import user_name
from kybern.apiserver.request import Attributes, User

ALL = "*"


def in_order(schemas: Iterable[FlowSchema]) -> list[FlowSchema]:
    return sorted(schemas, key=lambda schema: (schema.spec.matching_precedence or 0, schema.metadata.name or ""))


def first_match(schemas: Sequence[FlowSchema], attributes: Attributes) -> FlowSchema | None:
    """Of schemas that are in order."""
    return next((schema for schema in schemas if matches(schema, attributes)), None)


def matches(schema: FlowSchema, attributes: Attributes) -> bool:
    return any(rule_matches(rule, attributes) for rule in schema.spec.rules or ())


def rule_matches(rule: PolicyRulesWithSubjects, attributes: Attributes) -> bool:
    if not any(is_of(attributes.user, subject) for subject in rule.subjects):
        return False
    if attributes.is_resource:
        return any(takes_resource(one, attributes) for one in rule.resource_rules or ())
    return any(takes_path(one, attributes) for one in rule.non_resource_rules or ())


def is_of(user: User, subject: Subject) -> bool:
    if subject.user is not None:
        return subject.user.name in (ALL, user.name)
    if subject.group is not None:
        return subject.group.name == ALL or subject.group.name in user.groups
    if subject.service_account is not None:
        account = subject.service_account
        if account.name == ALL:
            return user.name.startswith(user_name(account.namespace, ""))
        return user.name == user_name(account.namespace, account.name)
    return False


def takes_resource(rule: ResourcePolicyRule, a: Attributes) -> bool:
    whole = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    if not (holds(rule.verbs, a.verb) and holds(rule.api_groups, a.group) and holds(rule.resources, whole)):
        return False
    return holds(rule.namespaces or (), a.namespace) if a.namespace else bool(rule.cluster_scope)


def takes_path(rule: NonResourcePolicyRule, a: Attributes) -> bool:
    return holds(rule.verbs, a.verb) and any(
        a.path == url or (url.endswith(ALL) and a.path.startswith(url.rstrip(ALL))) for url in rule.non_resource_urls
    )


def holds(listed: Sequence[str], value: str) -> bool:
    return ALL in listed or value in listed


def distinguisher(schema: FlowSchema, attributes: Attributes) -> str:
    """What tells the flows of one schema apart."""
    method = schema.spec.distinguisher_method
    if method is None:
        return ""
    return attributes.user.name if method.type == "ByUser" else attributes.namespace
