"""flowschemas and prioritylevelconfigurations: whose requests wait for whose."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from kybern.api import names
from kybern.api.flowcontrol_v1 import (
    ExemptPriorityLevelConfiguration,
    FlowSchema,
    FlowSchemaCondition,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationCondition,
    PriorityLevelConfigurationSpec,
    QueuingConfiguration,
    ResourcePolicyRule,
    Subject,
)
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import judged, not_negative, repeated
from kybern.registry.columns import AGE, NAME, NONE
from kybern.registry.defaulting import filled, filled_zero, part
from kybern.registry.flowdefaults import EXEMPT, MANDATORY, levels, schemas
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

VERBS = frozenset(("get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy"))
HASH_BITS_MAX = 60
PRECEDENCE_DEFAULT = 1000
PRECEDENCE_MAX = 10000
SHARES_DEFAULT = 30
QUEUING = QueuingConfiguration(queues=64, hand_size=8, queue_length_limit=50)
QUEUES_MAX = 10_000_000
SUBJECT_KINDS = ("Group", "ServiceAccount", "User")
MANDATORY_SCHEMAS = {schema.metadata.name: schema.spec for schema in schemas() if schema.metadata.name in MANDATORY}
MANDATORY_LEVELS = {level.metadata.name: level.spec for level in levels() if level.metadata.name in MANDATORY}


def default_schema(schema: FlowSchema) -> FlowSchema:
    return part(schema, "spec", lambda spec: filled_zero(spec, matching_precedence=PRECEDENCE_DEFAULT))


def validate_schema(schema: FlowSchema) -> Iterator[FieldError]:
    spec = schema.spec
    precedence = spec.matching_precedence or 0
    if precedence < 1:
        yield invalid_value("spec.matchingPrecedence", precedence, "must be a positive value")
    if precedence > PRECEDENCE_MAX:
        yield invalid_value("spec.matchingPrecedence", precedence, f"must not be greater than {PRECEDENCE_MAX}")
    if precedence == 1 and schema.metadata.name != EXEMPT:
        why = "only the schema named 'exempt' may have matchingPrecedence 1"
        yield invalid_value("spec.matchingPrecedence", precedence, why)
    if spec.distinguisher_method is not None and spec.distinguisher_method.type not in ("ByNamespace", "ByUser"):
        kinds = ("ByNamespace", "ByUser")
        yield not_supported("spec.distinguisherMethod.type", spec.distinguisher_method, kinds)
    level = spec.priority_level_configuration.name
    if not level:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    yield from judged("spec.priorityLevelConfiguration.name", level, names.dns1123_subdomain)
    for index, rule in enumerate(spec.rules or ()):
        at = f"spec.rules[{index}]"
        if not rule.subjects:
            yield required(f"{at}.subjects", "subjects must contain at least one value")
        if not rule.resource_rules and not rule.non_resource_rules:
            yield required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
        for place, subject in enumerate(rule.subjects):
            yield from validate_subject(subject, f"{at}.subjects[{place}]")
        for place, of_resources in enumerate(rule.resource_rules or ()):
            yield from validate_resource_rule(of_resources, f"{at}.resourceRules[{place}]")
        for place, of_paths in enumerate(rule.non_resource_rules or ()):
            here = f"{at}.nonResourceRules[{place}]"
            yield from validate_verbs(of_paths.verbs, f"{here}.verbs")
            yield from validate_paths(of_paths.non_resource_urls, f"{here}.nonResourceURLs")
    name = schema.metadata.name or ""
    if spec != MANDATORY_SCHEMAS.get(name, spec):
        yield invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value")
    yield from validate_conditions(schema.status.conditions or ())


def validate_conditions(
    conditions: Sequence[FlowSchemaCondition | PriorityLevelConfigurationCondition],
) -> Iterator[FieldError]:
    again = repeated(condition.type for condition in conditions)
    for index, condition in enumerate(conditions):
        if index in again:
            yield duplicate(f"status.conditions[{index}].type", condition.type)
        if not condition.type:
            yield required(f"status.conditions[{index}].type", "must not be empty")


def validate_status(new: FlowSchema | PriorityLevelConfiguration, old: Any) -> Iterator[FieldError]:
    yield from validate_conditions(new.status.conditions or ())


def validate_subject(subject: Subject, at: str) -> Iterator[FieldError]:
    """The part that its kind names, and no other."""
    parts_by_kind: dict[str, tuple[str, Any]] = {
        "User": ("user", subject.user),
        "Group": ("group", subject.group),
        "ServiceAccount": ("serviceAccount", subject.service_account),
    }
    if subject.kind not in parts_by_kind:
        yield not_supported(f"{at}.kind", subject.kind, SUBJECT_KINDS)
        return
    for kind, (field, found) in parts_by_kind.items():
        here = f"{at}.{field}"
        if kind != subject.kind:
            if found is not None:
                yield forbidden_field(here, f"{field} is forbidden when subject kind is not '{kind}'")
        elif found is None:
            yield required(here, f"{field} is required when subject kind is '{kind}'")
        elif not found.name:
            yield required(f"{here}.name")
    account = subject.service_account
    if subject.kind != "ServiceAccount" or account is None:
        return
    if account.name != "*":
        yield from judged(f"{at}.serviceAccount.name", account.name, names.dns1123_subdomain)
    if not account.namespace:
        yield required(f"{at}.serviceAccount.namespace", "must specify namespace for service account")
    yield from judged(f"{at}.serviceAccount.namespace", account.namespace, names.dns1123_label)


def validate_verbs(verbs: tuple[str, ...], at: str) -> Iterator[FieldError]:
    if not verbs:
        yield required(at, "verbs must contain at least one value")
    elif "*" in verbs:
        yield from alone(verbs, at, "verbs")
    elif not VERBS.issuperset(verbs):
        yield not_supported(at, verbs, sorted(VERBS))


def alone(values: tuple[str, ...], at: str, what: str) -> Iterator[FieldError]:
    if "*" in values and len(values) > 1:
        yield invalid_value(at, values, f"if '*' is present, must not specify other {what}")


def validate_paths(paths: tuple[str, ...], at: str) -> Iterator[FieldError]:
    if not paths:
        yield required(at, "nonResourceURLs must contain at least one value")
    elif "*" in paths:
        yield from alone(paths, at, "non-resource URLs")
    else:
        for index, path in enumerate(paths):
            wrong = wrong_with_path(path)
            if wrong:
                yield invalid_value(f"{at}[{index}]", path, wrong)


def wrong_with_path(path: str) -> str:
    """Empty: nothing."""
    if not path:
        return "must not be empty"
    if path == "/":
        return ""
    if not path.startswith("/"):
        return "must start with slash"
    if " " in path:
        return "must not contain white-space"
    if "//" in path:
        return "must not contain double slash"
    stars = path.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not path.endswith("/*")) else ""


def validate_resource_rule(rule: ResourcePolicyRule, at: str) -> Iterator[FieldError]:
    yield from validate_verbs(rule.verbs, f"{at}.verbs")
    if not rule.api_groups:
        yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
    yield from alone(rule.api_groups, f"{at}.apiGroups", "api groups")
    if not rule.resources:
        yield required(f"{at}.resources", "resource rules must supply at least one resource")
    yield from alone(rule.resources, f"{at}.resources", "resources")
    namespaces = rule.namespaces or ()
    if not namespaces and not rule.cluster_scope:
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(f"{at}.namespaces", why)
    yield from alone(namespaces, f"{at}.namespaces", "namespaces")
    for index, namespace in enumerate(() if "*" in namespaces else namespaces):
        for wrong in names.dns1123_label(namespace):
            why = f"each member of this list must be '*' or a DNS-1123 label; {wrong}"
            yield invalid_value(f"{at}.namespaces[{index}]", namespace, why)


def dangling_cell(schema: FlowSchema, now: float) -> str:
    """Whether its priority level is missing; `?` where nobody has looked yet."""
    return next((c.status or "" for c in schema.status.conditions or () if c.type == "Dangling"), "?")


def distinguisher_cell(schema: FlowSchema, now: float) -> str:
    return schema.spec.distinguisher_method.type if schema.spec.distinguisher_method is not None else NONE


FLOW_SCHEMAS = Resource(
    kind=kind_of(FlowSchema),
    default=default_schema,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_schema,
    generation=spec_of,
    subresources=(status("all", validate_status),),
    columns=(
        NAME,
        Column(
            "PriorityLevel",
            lambda schema, now: schema.spec.priority_level_configuration.name,
            of="flowcontrol_v1.PriorityLevelConfigurationReference.name",
        ),
        Column(
            "MatchingPrecedence",
            lambda schema, now: schema.spec.matching_precedence or 0,
            of="flowcontrol_v1.FlowSchemaSpec.matchingPrecedence",
        ),
        Column("DistinguisherMethod", distinguisher_cell, of="flowcontrol_v1.FlowSchemaSpec.distinguisherMethod"),
        AGE,
        Column(
            "MissingPL", dangling_cell, description="references a broken or non-existent PriorityLevelConfiguration"
        ),
    ),
    table_order=lambda schema: (schema.spec.matching_precedence or 0, schema.metadata.name),
)


def default_level(level: PriorityLevelConfiguration) -> PriorityLevelConfiguration:
    return part(level, "spec", default_level_spec)


def default_level_spec(spec: PriorityLevelConfigurationSpec) -> PriorityLevelConfigurationSpec:
    spec = part(spec, "limited", default_limited)
    return part(spec, "exempt", lambda found: filled(found, nominal_concurrency_shares=0, lendable_percent=0))


def default_limited(limited: LimitedPriorityLevelConfiguration) -> LimitedPriorityLevelConfiguration:
    limited = filled(limited, nominal_concurrency_shares=SHARES_DEFAULT, lendable_percent=0)
    response: LimitResponse = part(limited.limit_response, "queuing", default_queuing)
    return limited if response is limited.limit_response else changed(limited, limit_response=response)


def default_queuing(queuing: QueuingConfiguration) -> QueuingConfiguration:
    return filled_zero(
        queuing,
        queues=QUEUING.queues,
        hand_size=QUEUING.hand_size,
        queue_length_limit=QUEUING.queue_length_limit,
    )


def validate_level(level: PriorityLevelConfiguration) -> Iterator[FieldError]:
    spec, name = level.spec, level.metadata.name or ""
    if (name == EXEMPT) != (spec.type == "Exempt"):
        yield invalid_value("spec.type", spec.type, "type must be 'Exempt' if and only if name is 'exempt'")
    if spec.type == "Exempt":
        if spec.limited is not None:
            yield forbidden_field("spec.limited", "must be nil if the type is not Limited")
        yield from validate_exempt(spec.exempt)
    elif spec.type == "Limited":
        if spec.exempt is not None:
            yield forbidden_field("spec.exempt", "must be nil if the type is Limited")
        if spec.limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from validate_limited(spec.limited)
    else:
        yield not_supported("spec.type", spec.type, ("Exempt", "Limited"))
    if name == EXEMPT and changed(spec, exempt=None) != changed(MANDATORY_LEVELS[EXEMPT], exempt=None):
        why = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
        yield invalid_value("spec", spec, why)
    elif name != EXEMPT and spec != MANDATORY_LEVELS.get(name, spec):
        yield invalid_value("spec", spec, f"spec of '{name}' must equal the fixed value")
    yield from validate_conditions(level.status.conditions or ())


def validate_exempt(exempt: ExemptPriorityLevelConfiguration | None) -> Iterator[FieldError]:
    shares = exempt.nominal_concurrency_shares if exempt is not None else None
    if shares is not None and shares < 0:
        yield invalid_value("spec.exempt.nominalConcurrencyShares", shares, "must be a non-negative integer")
    yield from validate_lendable("spec.exempt", exempt.lendable_percent if exempt is not None else None)


def validate_lendable(at: str, percent: int | None) -> Iterator[FieldError]:
    if percent is not None and not 0 <= percent <= 100:
        yield invalid_value(f"{at}.lendablePercent", percent, "must be between 0 and 100, inclusive")


def validate_limited(limited: LimitedPriorityLevelConfiguration) -> Iterator[FieldError]:
    response = limited.limit_response
    yield from not_negative("spec.limited.nominalConcurrencyShares", limited.nominal_concurrency_shares)
    yield from validate_lendable("spec.limited", limited.lendable_percent)
    borrowing = limited.borrowing_limit_percent
    if borrowing is not None and borrowing < 0:
        yield invalid_value(
            "spec.limited.borrowingLimitPercent", borrowing, "if specified, must be a non-negative integer"
        )
    if response.type == "Reject":
        if response.queuing is not None:
            here = "spec.limited.limitResponse.queuing"
            yield forbidden_field(here, "must be nil if limited.limitResponse.type is not Limited")
    elif response.type == "Queue":
        if response.queuing is None:
            yield required(
                "spec.limited.limitResponse.queuing", "must not be empty if limited.limitResponse.type is Limited"
            )
        else:
            yield from validate_queuing(response.queuing, "spec.limited.limitResponse.queuing")
    else:
        yield not_supported("spec.limited.limitResponse.type", response.type, ("Queue", "Reject"))


def validate_queuing(queuing: QueuingConfiguration, at: str) -> Iterator[FieldError]:
    queues, hand = queuing.queues or 0, queuing.hand_size or 0
    if queues <= 0:
        yield invalid_value(f"{at}.queues", queues, "must be positive")
    elif queues > QUEUES_MAX:
        yield invalid_value(f"{at}.queues", queues, f"must not be greater than {QUEUES_MAX}")
    if (queuing.queue_length_limit or 0) <= 0:
        yield invalid_value(f"{at}.queueLengthLimit", queuing.queue_length_limit, "must be positive")
    if hand <= 0:
        yield invalid_value(f"{at}.handSize", hand, "must be positive")
    elif hand > queues:
        why = f"should not be greater than queues ({queues})"
        yield invalid_value(f"{at}.handSize", hand, why)
    elif entropy_bits(queues, hand) > HASH_BITS_MAX:
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        )
        yield invalid_value(f"{at}.handSize", hand, why)


def entropy_bits(queues: int, hand: int) -> int:
    """How many random bits it takes to deal a hand of queues."""
    return math.ceil(sum(math.log2(queues - dealt) for dealt in range(hand)))


def queuing_column(title: str, name: str) -> Column:
    def cell(level: PriorityLevelConfiguration, now: float) -> str | int:
        limited = level.spec.limited
        queuing = limited.limit_response.queuing if limited is not None else None
        return NONE if queuing is None else int(getattr(queuing, name))

    return Column(title, cell, of=f"flowcontrol_v1.QueuingConfiguration.{title[0].lower()}{title[1:]}")


def shares_cell(level: PriorityLevelConfiguration, now: float) -> str | int | None:
    return NONE if level.spec.limited is None else level.spec.limited.nominal_concurrency_shares


PRIORITY_LEVELS = Resource(
    kind=kind_of(PriorityLevelConfiguration),
    default=default_level,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_level,
    generation=spec_of,
    subresources=(status("all", validate_status),),
    columns=(
        NAME,
        Column("Type", lambda level, now: level.spec.type, of="flowcontrol_v1.PriorityLevelConfigurationSpec.type"),
        Column(
            "NominalConcurrencyShares",
            shares_cell,
            of="flowcontrol_v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares",
        ),
        queuing_column("Queues", "queues"),
        queuing_column("HandSize", "hand_size"),
        queuing_column("QueueLengthLimit", "queue_length_limit"),
        AGE,
    ),
)
