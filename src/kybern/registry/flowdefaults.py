"""The priority levels and flow schemas that every cluster has: upstream's.

The mandatory ones are always as they are here, but for what is lent of the exempt level's shares. The suggested ones are a
beginning that administrators may change.
"""

from collections.abc import Iterator

from kybern.api.flowcontrol_v1 import (
    ExemptPriorityLevelConfiguration,
    FlowDistinguisherMethod,
    FlowSchema,
    FlowSchemaSpec,
    GroupSubject,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec,
    QueuingConfiguration,
    ResourcePolicyRule,
    ServiceAccountSubject,
    Subject,
    UserSubject,
)
from kybern.api.meta_v1 import ObjectMeta

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
EXEMPT = "exempt"
MANDATORY = (EXEMPT, "catch-all")

# shares, percent of them that may be lent, queues, hand, queue length
LIMITED: dict[str, tuple[int, int, int, int, int]] = {
    "system": (30, 33, 64, 6, 50),
    "node-high": (40, 25, 64, 6, 50),
    "leader-election": (10, 0, 16, 4, 50),
    "workload-high": (40, 50, 128, 6, 50),
    "workload-low": (100, 90, 128, 6, 50),
    "global-default": (20, 50, 128, 6, 50),
}
CATCH_ALL_SHARES = 5

MASTERS = ("Group system:masters",)
EVERYBODY = ("Group system:unauthenticated", "Group system:authenticated")
MANAGER, SCHEDULER = "User system:kube-controller-manager", "User system:kube-scheduler"
KUBE_SYSTEM = "ServiceAccount kube-system/*"
ENDPOINTS = (
    "ServiceAccount kube-system/endpoint-controller",
    "ServiceAccount kube-system/endpointslicemirroring-controller",
)
ACCOUNTS, NODES = ("Group system:serviceaccounts",), ("Group system:nodes",)

ALL = ("*",)
EVERYTHING = (
    ResourcePolicyRule(verbs=ALL, api_groups=ALL, resources=ALL, namespaces=ALL, cluster_scope=True),
)  # fmt: skip
ALL_PATHS = (NonResourcePolicyRule(verbs=ALL, non_resource_urls=ALL),)
PROBES = (NonResourcePolicyRule(verbs=("get",), non_resource_urls=("/healthz", "/readyz", "/livez")),)
LEASED = ("get", "create", "update")
COORDINATION = "coordination.k8s.io"
LEASES = (
    ResourcePolicyRule(verbs=LEASED, api_groups=(COORDINATION,), resources=("leases",), namespaces=ALL),
)  # fmt: skip
ENDPOINT_WRITES = (
    ResourcePolicyRule(verbs=LEASED, api_groups=("",), resources=("endpoints",), namespaces=ALL),
)  # fmt: skip
NODE_REPORTS = (
    ResourcePolicyRule(
        verbs=ALL, api_groups=("",), resources=("nodes", "nodes/status"), namespaces=ALL, cluster_scope=True
    ),
    ResourcePolicyRule(verbs=ALL, api_groups=(COORDINATION,), resources=("leases",), namespaces=ALL),
)

Rules = tuple[tuple[ResourcePolicyRule, ...], tuple[NonResourcePolicyRule, ...]]
WHOLE: Rules = (EVERYTHING, ALL_PATHS)

# precedence, priority level, what tells flows apart, whose, what
SCHEMAS: dict[str, tuple[int, str, str, tuple[str, ...], Rules]] = {
    "exempt": (1, "exempt", "", MASTERS, WHOLE),
    "probes": (2, "exempt", "", EVERYBODY, ((), PROBES)),
    "system-leader-election": (100, "leader-election", "ByUser", (MANAGER, SCHEDULER, KUBE_SYSTEM), (LEASES, ())),
    "endpoint-controller": (150, "workload-high", "ByUser", (MANAGER, *ENDPOINTS), (ENDPOINT_WRITES, ())),
    "workload-leader-election": (200, "leader-election", "ByUser", (KUBE_SYSTEM,), (LEASES, ())),
    "system-node-high": (400, "node-high", "ByUser", NODES, (NODE_REPORTS, ())),
    "system-nodes": (500, "system", "ByUser", NODES, WHOLE),
    "kube-controller-manager": (800, "workload-high", "ByNamespace", (MANAGER,), WHOLE),
    "kube-scheduler": (800, "workload-high", "ByNamespace", (SCHEDULER,), WHOLE),
    "kube-system-service-accounts": (900, "workload-high", "ByNamespace", (KUBE_SYSTEM,), WHOLE),
    "service-accounts": (9000, "workload-low", "ByUser", ACCOUNTS, WHOLE),
    "global-default": (9900, "global-default", "ByUser", EVERYBODY, WHOLE),
    "catch-all": (10000, "catch-all", "ByUser", EVERYBODY, WHOLE),
}


def levels() -> Iterator[PriorityLevelConfiguration]:
    exempt = ExemptPriorityLevelConfiguration(nominal_concurrency_shares=0, lendable_percent=0)
    yield level("exempt", PriorityLevelConfigurationSpec(type="Exempt", exempt=exempt))
    yield level("catch-all", limited(CATCH_ALL_SHARES, 0, LimitResponse(type="Reject")))
    for name, (shares, lendable, queues, hand, length) in LIMITED.items():
        queuing = QueuingConfiguration(queues=queues, hand_size=hand, queue_length_limit=length)
        yield level(name, limited(shares, lendable, LimitResponse(type="Queue", queuing=queuing)))


def limited(shares: int, lendable: int, response: LimitResponse) -> PriorityLevelConfigurationSpec:
    return PriorityLevelConfigurationSpec(
        type="Limited",
        limited=LimitedPriorityLevelConfiguration(
            nominal_concurrency_shares=shares, lendable_percent=lendable, limit_response=response
        ),
    )


def level(name: str, spec: PriorityLevelConfigurationSpec) -> PriorityLevelConfiguration:
    return PriorityLevelConfiguration(metadata=metadata(name), spec=spec)


def metadata(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, annotations={AUTOUPDATE: "true"})


def schemas() -> Iterator[FlowSchema]:
    for name, (precedence, of_level, method, subjects, (resources, paths)) in SCHEMAS.items():
        rule = PolicyRulesWithSubjects(
            subjects=tuple(map(subject, subjects)),
            resource_rules=resources or None,
            non_resource_rules=paths or None,
        )
        spec = FlowSchemaSpec(
            matching_precedence=precedence,
            priority_level_configuration=PriorityLevelConfigurationReference(name=of_level),
            distinguisher_method=FlowDistinguisherMethod(type=method) if method else None,
            rules=(rule,),
        )
        yield FlowSchema(metadata=metadata(name), spec=spec)


def subject(text: str) -> Subject:
    kind, name = text.split(" ")
    if kind == "User":
        return Subject(kind=kind, user=UserSubject(name=name))
    if kind == "Group":
        return Subject(kind=kind, group=GroupSubject(name=name))
    namespace, name = name.split("/")
    return Subject(kind=kind, service_account=ServiceAccountSubject(namespace=namespace, name=name))
