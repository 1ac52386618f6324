"""flowschemas and prioritylevelconfigurations: whose requests wait for whose."""

from collections.abc import Iterator

from kybern.api.flowcontrol_v1 import (
    FlowSchema,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationSpec,
    QueuingConfiguration,
    ResourcePolicyRule,
    Subject,
)
from kybern.api.invalid import FieldError, invalid_value, not_supported, required
from kybern.registry.columns import AGE, NAME, NONE
from kybern.registry.defaulting import filled, filled_zero, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

PRECEDENCE_DEFAULT = 1000
PRECEDENCE_MAX = 10000
SHARES_DEFAULT = 30
QUEUING = QueuingConfiguration(queues=64, hand_size=8, queue_length_limit=50)
QUEUES_MAX = 10_000_000
SUBJECT_KINDS = ("Group", "ServiceAccount", "User")


def default_schema(schema: FlowSchema) -> FlowSchema:
    return part(schema, "spec", lambda spec: filled_zero(spec, matching_precedence=PRECEDENCE_DEFAULT))


def validate_schema(schema: FlowSchema) -> Iterator[FieldError]:
    spec = schema.spec
    precedence = spec.matching_precedence or 0
    if precedence < 1:
        yield invalid_value("spec.matchingPrecedence", precedence, "must be a positive value")
    if precedence > PRECEDENCE_MAX:
        yield invalid_value("spec.matchingPrecedence", precedence, f"must not be greater than {PRECEDENCE_MAX}")
    if spec.distinguisher_method is not None and spec.distinguisher_method.type not in ("ByNamespace", "ByUser"):
        kinds = ("ByNamespace", "ByUser")
        yield not_supported("spec.distinguisherMethod", spec.distinguisher_method.type, kinds)
    if not spec.priority_level_configuration.name:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for index, rule in enumerate(spec.rules or ()):
        at = f"spec.rules[{index}]"
        if not rule.subjects:
            yield required(f"{at}.subjects", "subjects must contain at least one value")
        if not rule.resource_rules and not rule.non_resource_rules:
            yield required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
        for place, subject in enumerate(rule.subjects):
            if subject.kind not in SUBJECT_KINDS:
                yield not_supported(f"{at}.subjects[{place}].kind", subject.kind, SUBJECT_KINDS)
            yield from validate_subject(subject, f"{at}.subjects[{place}]")
        for place, of_resources in enumerate(rule.resource_rules or ()):
            yield from validate_resource_rule(of_resources, f"{at}.resourceRules[{place}]")
        for place, of_paths in enumerate(rule.non_resource_rules or ()):
            here = f"{at}.nonResourceRules[{place}]"
            if not of_paths.verbs:
                yield required(f"{here}.verbs", "verbs must contain at least one value")
            if not of_paths.non_resource_urls:
                yield required(f"{here}.nonResourceURLs", "nonResourceURLs must contain at least one value")


def validate_subject(subject: Subject, at: str) -> Iterator[FieldError]:
    if subject.user is not None and not subject.user.name:
        yield required(f"{at}.user.name")
    if subject.group is not None and not subject.group.name:
        yield required(f"{at}.group.name")
    account = subject.service_account
    if account is not None and not account.name:
        yield required(f"{at}.serviceAccount.name")
    if account is not None and not account.namespace:
        yield required(f"{at}.serviceAccount.namespace", "must specify namespace for service account")


def validate_resource_rule(rule: ResourcePolicyRule, at: str) -> Iterator[FieldError]:
    if not rule.verbs:
        yield required(f"{at}.verbs", "verbs must contain at least one value")
    if not rule.api_groups:
        yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
    if not rule.resources:
        yield required(f"{at}.resources", "resource rules must supply at least one resource")
    if not rule.namespaces and not rule.cluster_scope:
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(f"{at}.namespaces", why)


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
    subresources=(status("all"),),
    columns=(
        NAME,
        Column("PriorityLevel", lambda schema, now: schema.spec.priority_level_configuration.name),
        Column("MatchingPrecedence", lambda schema, now: schema.spec.matching_precedence or 0),
        Column("DistinguisherMethod", distinguisher_cell),
        AGE,
        Column("MissingPL", dangling_cell),
    ),
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
    spec = level.spec
    if spec.type == "Exempt":
        if spec.limited is not None:
            yield invalid_value("spec.limited", spec.limited, "must be nil if the type is not Limited")
    elif spec.type == "Limited":
        if spec.limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from validate_limited(spec.limited)
    else:
        yield not_supported("spec.type", spec.type, ("Exempt", "Limited"))


def validate_limited(limited: LimitedPriorityLevelConfiguration) -> Iterator[FieldError]:
    response = limited.limit_response
    if response.type == "Reject":
        if response.queuing is not None:
            here = "spec.limited.limitResponse.queuing"
            yield invalid_value(here, response.queuing, "must be nil if limited.limitResponse.type is not Limited")
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


def queuing_cell(name: str) -> Column:
    titles = {"queues": "Queues", "hand_size": "HandSize", "queue_length_limit": "QueueLengthLimit"}

    def cell(level: PriorityLevelConfiguration, now: float) -> str:
        limited = level.spec.limited
        queuing = limited.limit_response.queuing if limited is not None else None
        return NONE if queuing is None else str(getattr(queuing, name))

    return Column(titles[name], cell)


def shares_cell(level: PriorityLevelConfiguration, now: float) -> str:
    part_used = level.spec.limited or level.spec.exempt
    shares = part_used.nominal_concurrency_shares if part_used is not None else None
    return NONE if shares is None else str(shares)


PRIORITY_LEVELS = Resource(
    kind=kind_of(PriorityLevelConfiguration),
    default=default_level,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_level,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(
        NAME,
        Column("Type", lambda level, now: level.spec.type),
        Column("NominalConcurrencyShares", shares_cell),
        queuing_cell("queues"),
        queuing_cell("hand_size"),
        queuing_cell("queue_length_limit"),
        AGE,
    ),
)
