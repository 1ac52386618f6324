"""The kinds of the Gateway API, as far as HTTPRoute and GRPCRoute go. Their CRDs are made of them (`definitions`), defaults and bounds included."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field

from kybern.api.kind import Kind
from kybern.api.meta_v1 import Condition, LabelSelector, ObjectMeta

GROUP = "gateway.networking.k8s.io"
V1 = f"{GROUP}/v1"
ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
DOMAIN_PATH = rf"{SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+"
PROTOCOL = rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|{SUBDOMAIN}\/[A-Za-z0-9]+$"
ORIGIN = r"(^\*$)|(^(http(s)?):\/\/(((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:([0-9]{1,5}))?)$)"
HOSTNAME = rf"^(\*\.)?{SUBDOMAIN}$"

Name = Annotated[str, Meta(min_length=1, max_length=253)]
Group = Annotated[str, Meta(max_length=253, pattern=rf"^$|^{SUBDOMAIN}$")]
KindName = Annotated[str, Meta(min_length=1, max_length=63, pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
Namespace = Annotated[str, Meta(min_length=1, max_length=63, pattern=f"^{LABEL}$")]
SectionName = Annotated[str, Meta(min_length=1, max_length=253, pattern=f"^{SUBDOMAIN}$")]
Hostname = Annotated[str, Meta(min_length=1, max_length=253, pattern=HOSTNAME)]
PreciseHostname = Annotated[str, Meta(min_length=1, max_length=253, pattern=f"^{SUBDOMAIN}$")]
AddressType = Annotated[
    str, Meta(min_length=1, max_length=253, pattern=f"^Hostname|IPAddress|NamedAddress|{DOMAIN_PATH}$")
]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
HeaderName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$")]
Value = Annotated[str, Meta(min_length=1, max_length=4096)]
Text = Annotated[str, Meta(max_length=4096)]
LabelValue = Annotated[str, Meta(max_length=63, pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
Duration = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
Origin = Annotated[str, Meta(min_length=1, max_length=253, pattern=ORIGIN)]
AsSet = Meta(extra_json_schema={"x-kubernetes-list-type": "set"})
By = Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
Conditions = Annotated[
    tuple[Condition, ...],
    Meta(max_length=8, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    pass


class ParentReference(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group = GROUP
    kind: KindName = "Gateway"
    name: Name
    namespace: Namespace | None = None
    section_name: SectionName | None = None
    port: PortNumber | None = None


class BackendObject(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group = ""
    kind: KindName = "Service"
    name: Name
    namespace: Namespace | None = None
    port: PortNumber | None = None


class LocalObject(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group
    kind: KindName
    name: Name


class ParametersReference(LocalObject, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    namespace: Namespace | None = None


class HeaderValue(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: HeaderName
    value: Value


class HeaderFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    set: Annotated[tuple[HeaderValue, ...], Meta(max_length=16), By] = ()
    add: Annotated[tuple[HeaderValue, ...], Meta(max_length=16), By] = ()
    remove: Annotated[tuple[str, ...], Meta(max_length=16), AsSet] = ()


class PathModifier(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, Meta(max_length=1024)] | None = None
    replace_prefix_match: Annotated[str, Meta(max_length=1024)] | None = None


class RedirectFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: PortNumber | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class RewriteFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class Fraction(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    numerator: Annotated[int, Meta(ge=0)]
    denominator: Annotated[int, Meta(ge=1)] = 100


class MirrorFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    backend_ref: BackendObject
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class CorsFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    allow_origins: Annotated[tuple[Origin, ...], Meta(max_length=64), AsSet] = ()
    allow_credentials: bool | None = None
    allow_methods: Annotated[tuple[Literal[Method, "*"], ...], Meta(max_length=9), AsSet] = ()
    allow_headers: Annotated[tuple[HeaderName, ...], Meta(max_length=64), AsSet] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], Meta(max_length=64), AsSet] = ()
    max_age: Annotated[int, Meta(ge=1)] = 5


class AnyFilter(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What filters of every kind of route may do."""

    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_mirror: MirrorFilter | None = None
    extension_ref: LocalObject | None = None


class RouteFilter(AnyFilter, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef",
        "CORS",
    ]  # fmt: skip
    cors: CorsFilter | None = None
    request_redirect: RedirectFilter | None = None
    url_rewrite: RewriteFilter | None = field(default=None, name="urlRewrite")


class GRPCFilter(AnyFilter, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]


class BackendRef(BackendObject, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    filters: Annotated[tuple[RouteFilter, ...], Meta(max_length=16)] = ()


class GRPCBackendRef(BackendObject, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    filters: Annotated[tuple[GRPCFilter, ...], Meta(max_length=16)] = ()


class PathMatch(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Meta(max_length=1024)] = "/"


class ValueMatch(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Of a header."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Value


class ParameterMatch(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Annotated[str, Meta(min_length=1, max_length=1024)]


class RouteMatch(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    path: PathMatch = PathMatch()
    headers: Annotated[tuple[ValueMatch, ...], Meta(max_length=16), By] = ()
    query_params: Annotated[tuple[ParameterMatch, ...], Meta(max_length=16), By] = ()
    method: Method | None = None


class Timeouts(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    codes: tuple[Annotated[int, Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, Meta(ge=1, le=10)] | None = None
    backoff: Duration | None = None


class RouteRule(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: SectionName | None = None
    matches: Annotated[tuple[RouteMatch, ...], Meta(max_length=64)] = (RouteMatch(),)
    filters: Annotated[tuple[RouteFilter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[BackendRef, ...], Meta(max_length=16)] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None


class RouteSpec(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    parent_refs: Annotated[tuple[ParentReference, ...], Meta(max_length=32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Meta(max_length=16)] = ()
    rules: Annotated[tuple[RouteRule, ...], Meta(min_length=1, max_length=16)] = (RouteRule(),)


class GRPCMethod(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: Annotated[str, Meta(max_length=1024)] | None = None
    method: Annotated[str, Meta(max_length=1024)] | None = None


class GRPCMatch(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    method: GRPCMethod | None = None
    headers: Annotated[tuple[ValueMatch, ...], Meta(max_length=16), By] = ()


class GRPCRule(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: SectionName | None = None
    matches: Annotated[tuple[GRPCMatch, ...], Meta(max_length=64)] = ()
    filters: Annotated[tuple[GRPCFilter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[GRPCBackendRef, ...], Meta(max_length=16)] = ()


class GRPCSpec(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    parent_refs: Annotated[tuple[ParentReference, ...], Meta(max_length=32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Meta(max_length=16)] = ()
    rules: Annotated[tuple[GRPCRule, ...], Meta(max_length=16)] = ()


class ParentStatus(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    parent_ref: ParentReference
    controller_name: str
    conditions: Conditions = ()


class RouteStatus(Part, frozen=True, kw_only=True, omit_defaults=False, rename="camel"):
    parents: Annotated[tuple[ParentStatus, ...], Meta(max_length=32)] = ()


class SecretReference(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group = ""
    kind: KindName = "Secret"
    name: Name
    namespace: Namespace | None = None


class ListenerTls(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: Annotated[tuple[SecretReference, ...], Meta(max_length=64)] = ()
    options: Annotated[Mapping[str, Text], Meta(max_length=16)] | None = None


class RouteNamespaces(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    from_: Literal["All", "Selector", "Same"] = field(default="Same", name="from")
    selector: LabelSelector | None = None


class RouteKind(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group = GROUP
    kind: KindName


class AllowedRoutes(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteKind, ...], Meta(max_length=8)] = ()


class Listener(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: SectionName
    hostname: Hostname | None = None
    port: PortNumber
    protocol: Annotated[str, Meta(min_length=1, max_length=255, pattern=PROTOCOL)]
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: AddressType = "IPAddress"
    value: Annotated[str, Meta(max_length=253)] | None = None


class StatusAddress(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    type: AddressType = "IPAddress"
    value: Name


class Infrastructure(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    labels: Annotated[Mapping[str, LabelValue], Meta(max_length=8)] | None = None
    annotations: Annotated[Mapping[str, Text], Meta(max_length=16)] | None = None
    parameters_ref: LocalObject | None = None


class GatewaySpec(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    gateway_class_name: Name
    listeners: Annotated[tuple[Listener, ...], Meta(min_length=1, max_length=64), By]
    addresses: Annotated[tuple[GatewayAddress, ...], Meta(max_length=16)] = ()
    infrastructure: Infrastructure | None = None


class ListenerStatus(Part, frozen=True, kw_only=True, omit_defaults=False, rename="camel"):
    name: SectionName
    supported_kinds: Annotated[tuple[RouteKind, ...], Meta(max_length=8)] = ()
    attached_routes: int
    conditions: Conditions = ()


class GatewayStatus(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    addresses: Annotated[tuple[StatusAddress, ...], Meta(max_length=16)] = ()
    conditions: Conditions = ()
    listeners: Annotated[tuple[ListenerStatus, ...], Meta(max_length=64), By] = ()


class ClassSpec(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    controller_name: Annotated[str, Meta(min_length=1, max_length=253, pattern=f"^{DOMAIN_PATH}$")]
    description: Annotated[str, Meta(max_length=64)] | None = None
    parameters_ref: ParametersReference | None = None


class ClassStatus(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    conditions: Conditions = ()


class GrantFrom(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group
    kind: KindName
    namespace: Namespace


class GrantTo(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    group: Group
    kind: KindName
    name: Name | None = None


class GrantSpec(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    from_: Annotated[tuple[GrantFrom, ...], Meta(min_length=1, max_length=16)] = field(name="from")
    to: Annotated[tuple[GrantTo, ...], Meta(min_length=1, max_length=16)]


class Served(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What the kinds have in common."""

    served: ClassVar[Kind]
    api_version: str = field(default_factory=lambda: V1)
    metadata: ObjectMeta = field(default_factory=ObjectMeta)


class GatewayClass(Served, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    kind: str = field(default_factory=lambda: "GatewayClass")
    spec: ClassSpec
    status: ClassStatus = ClassStatus()


class Gateway(Served, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    kind: str = field(default_factory=lambda: "Gateway")
    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()


class HTTPRoute(Served, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    kind: str = field(default_factory=lambda: "HTTPRoute")
    spec: RouteSpec
    status: RouteStatus = RouteStatus()


class GRPCRoute(Served, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    kind: str = field(default_factory=lambda: "GRPCRoute")
    spec: GRPCSpec
    status: RouteStatus = RouteStatus()


class ReferenceGrant(Served, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    kind: str = field(default_factory=lambda: "ReferenceGrant")
    api_version: str = field(default_factory=lambda: f"{GROUP}/v1beta1")
    spec: GrantSpec


KINDS = (GatewayClass, Gateway, HTTPRoute, GRPCRoute, ReferenceGrant)

for _type, _plural, _version in (
    (GatewayClass, "gatewayclasses", "v1"),
    (Gateway, "gateways", "v1"),
    (HTTPRoute, "httproutes", "v1"),
    (GRPCRoute, "grpcroutes", "v1"),
    (ReferenceGrant, "referencegrants", "v1beta1"),
):
    _type.served = Kind(
        list_type=None, type=_type, group=GROUP, version=_version, kind=_type.__name__, plural=_plural,
        namespaced=_type is not GatewayClass, verbs=ALL,
    )  # fmt: skip
