"""What the Gateway API says of its objects beyond their schemas, as expressions of their CRDs, with the specification's messages.

A table: a Struct of `objects`, or a field of one, to its rules. What a rule says of each type of filter or each part of a
path is written once.
"""

from collections.abc import Mapping

from kybern.network.gateway.objects import (
    HOSTNAME,
    SUBDOMAIN,
    BackendObject,
    BackendRef,
    ClassSpec,
    CorsFilter,
    Fraction,
    GatewayAddress,
    GatewaySpec,
    GRPCBackendRef,
    GRPCFilter,
    GRPCMethod,
    GRPCRule,
    GRPCSpec,
    Infrastructure,
    ListenerTls,
    MirrorFilter,
    PathMatch,
    PathModifier,
    RouteFilter,
    RouteRule,
    RouteSpec,
    StatusAddress,
    Timeouts,
)

Rules = dict[str, str]
"""Message → the expression that holds."""

COMMON_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "ExtensionRef": "extensionRef",
}
HTTP_FILTERS = COMMON_FILTERS | {"CORS": "cors", "RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite"}
ONCE = ("RequestHeaderModifier", "ResponseHeaderModifier")
PATH = r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$"
GRPC_SERVICE = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$"
GRPC_METHOD = "^[A-Za-z_][A-Za-z_0-9]*$"
KEY = rf"^({SUBDOMAIN}/)?([A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]$"

PORT: Rules = {"Must have port for Service reference": "self.group != '' || self.kind != 'Service' || has(self.port)"}


def raw(text: str) -> str:
    return f'r"""{text}"""'


def filled(filters: Mapping[str, str]) -> Rules:
    """A filter has the part that its type names, and no other."""
    found = {}
    for type, part in filters.items():
        found[f"filter.{part} must be nil if the filter.type is not {type}"] = (
            f"self.type == '{type}' || !has(self.{part})"
        )
        found[f"filter.{part} must be specified for {type} filter.type"] = f"self.type != '{type}' || has(self.{part})"
    return found


def once(*types: str) -> Rules:
    return {f"{type} filter cannot be repeated": f"self.filter(f, f.type == '{type}').size() <= 1" for type in types}


HTTP_ONCE: Rules = {
    "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both": "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
    **once("CORS", *ONCE, "RequestRedirect", "URLRewrite"),
}  # fmt: skip


def one_prefix(changes: str) -> str:
    """Where a prefix is replaced it is clear which."""
    prefix = "size(self.matches) == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix'"
    return f"!({changes}) || ({prefix})"


def replaces(filter: str) -> str:
    """Of something with filters: whether one of them replaces a prefix."""
    path = f"f.{filter}.path"
    return f"has(%s.filters) && %s.filters.exists_one(f, has(f.{filter}) && has({path}) && {path}.type == 'ReplacePrefixMatch')"


def rule_replaces(filter: str) -> str:
    return replaces(filter) % ("self", "self")


def backend_replaces(filter: str) -> str:
    return f"has(self.backendRefs) && self.backendRefs.exists_one(b, {replaces(filter) % ('b', 'b')})"


HTTP_RULE: Rules = {
    "RequestRedirect filter must not be used together with backendRefs": "!has(self.backendRefs) || size(self.backendRefs) == 0 || !has(self.filters) || !self.filters.exists(f, has(f.requestRedirect))",
    "When using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified": one_prefix(rule_replaces("requestRedirect")),
    "When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified": one_prefix(rule_replaces("urlRewrite")),
    "Within backendRefs, when using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified": one_prefix(backend_replaces("requestRedirect")),
    "Within backendRefs, When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified": one_prefix(backend_replaces("urlRewrite")),
}  # fmt: skip


def modifier(type: str, field: str) -> Rules:
    return {
        f"{field} must be specified when type is set to '{type}'": f"self.type != '{type}' || has(self.{field})",
        f"type must be '{type}' when {field} is set": f"!has(self.{field}) || self.type == '{type}'",
    }


def path_rules() -> Rules:
    def plain(text: str, holds: str) -> dict[str, str]:
        return {text: f"self.type == 'RegularExpression' || {holds}"}

    which = "type one of ['Exact', 'PathPrefix']"
    found = plain(f"value must be an absolute path and start with '/' when {which}", "self.value.startsWith('/')")
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        found |= plain(f"must not contain '{part}' when {which}", f"!self.value.contains('{part}')")
    for part in ("/..", "/."):
        found |= plain(f"must not end with '{part}' when {which}", f"!self.value.endsWith('{part}')")
    text = f"must only contain valid characters (matching {PATH}) for types ['Exact', 'PathPrefix']"
    return found | plain(text, f"self.value.matches({raw(PATH)})")


def alike(one: str, other: str, field: str) -> str:
    """The same value of a field that may be left out, or be empty."""
    return f"(has({one}.{field}) ? {one}.{field} : '') == (has({other}.{field}) ? {other}.{field} : '')"


def parents() -> Rules:
    same = f"a.group == b.group && a.kind == b.kind && a.name == b.name && {alike('a', 'b', '__namespace__')}"
    named = "(has(%s.sectionName) && %s.sectionName != '')"
    said = f"{named % ('a', 'a')} == {named % ('b', 'b')}"
    section = alike("a", "b", "sectionName")
    return {
        "sectionName must be specified when parentRefs includes 2 or more references to the same parent": f"self.all(a, self.all(b, !({same}) || {said}))",
        "sectionName must be unique when parentRefs includes 2 or more references to the same parent": f"self.all(a, self.exists_one(b, {same} && {section}))",
    }  # fmt: skip


def matches_in_all(of_rule: str) -> Rules:
    message = "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be less than 128"
    return {message: f"self.map(r, {of_rule}).sum() <= 128"}


def unique(type: str) -> Rules:
    same = "has(b.value) && b.type == a.type && b.value == a.value"
    return {
        f"{type} values must be unique": f"self.all(a, a.type != '{type}' || !has(a.value) || self.exists_one(b, {same}))"
    }


def alone(what: str, others: str) -> Rules:
    return {f"{what} cannot contain '*' alongside other {others}": "!('*' in self && self.size() > 1)"}


def keys(what: str, one: str) -> Rules:
    return {
        f"{what} keys must be in the form of an optional DNS subdomain prefix followed by a required name segment of up to 63 characters.": f"self.all(key, key.matches({raw(KEY)}))",
        f"If specified, the {one} key's prefix must be a DNS subdomain not longer than 253 characters in total.": "self.all(key, key.split('/')[0].size() < 253)",
    }  # fmt: skip


LISTENERS: Rules = {
    "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']": "self.all(l, !(l.protocol in ['HTTP', 'TCP', 'UDP'] && has(l.tls)))",
    "tls mode must be Terminate for protocol HTTPS": "self.all(l, l.protocol != 'HTTPS' || !has(l.tls) || l.tls.mode in ['', 'Terminate'])",
    "tls mode must be set for protocol TLS": "self.all(l, l.protocol != 'TLS' || (has(l.tls) && has(l.tls.mode) && l.tls.mode != ''))",
    "hostname must not be specified for protocols ['TCP', 'UDP']": "self.all(l, !(l.protocol in ['TCP', 'UDP'] && has(l.hostname) && l.hostname != ''))",
    "Listener name must be unique within the Gateway": "self.all(a, self.exists_one(b, a.name == b.name))",
    "Combination of port, protocol and hostname must be unique for each listener": f"self.all(a, self.exists_one(b, a.port == b.port && a.protocol == b.protocol && {alike('a', 'b', 'hostname')}))",
}  # fmt: skip

RULES: Mapping[tuple[type, str], Rules] = {
    (ClassSpec, "controller_name"): {"Value is immutable": "self == oldSelf"},
    (GatewaySpec, "addresses"): unique("IPAddress") | unique("Hostname"),
    (GatewayAddress, ""): {
        f"Hostname value must be empty or contain only valid characters (matching {HOSTNAME})": f"self.type != 'Hostname' || !has(self.value) || self.value.matches({raw(HOSTNAME)})"
    },
    (StatusAddress, ""): {
        f"Hostname value must only contain valid characters (matching {HOSTNAME})": f"self.type != 'Hostname' || self.value.matches({raw(HOSTNAME)})"
    },
    (Infrastructure, "annotations"): keys("Annotation", "annotation"),
    (Infrastructure, "labels"): keys("Label", "label"),
    (GatewaySpec, "listeners"): LISTENERS,
    (ListenerTls, ""): {
        "certificateRefs or options must be specified when mode is Terminate": "self.mode != 'Terminate' || size(self.certificateRefs) > 0 || size(self.options) > 0"
    },
    (RouteSpec, "parent_refs"): parents(),
    (GRPCSpec, "parent_refs"): parents(),
    (RouteSpec, "rules"): matches_in_all("r.matches.size()"),
    (GRPCSpec, "rules"): matches_in_all("has(r.matches) ? r.matches.size() : 0"),
    (RouteRule, ""): HTTP_RULE,
    (RouteRule, "filters"): HTTP_ONCE,
    (BackendRef, "filters"): HTTP_ONCE,
    (GRPCRule, "filters"): once(*ONCE),
    (GRPCBackendRef, "filters"): once(*ONCE),
    (RouteFilter, ""): filled(HTTP_FILTERS),
    (GRPCFilter, ""): filled(COMMON_FILTERS),
    (CorsFilter, "allow_origins"): alone("AllowOrigins", "origins"),
    (CorsFilter, "allow_methods"): alone("AllowMethods", "methods"),
    (CorsFilter, "allow_headers"): alone("AllowHeaders", "methods"),
    (BackendObject, ""): PORT,
    (BackendRef, ""): PORT,
    (GRPCBackendRef, ""): PORT,
    (MirrorFilter, ""): {
        "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter": "!has(self.percent) || !has(self.fraction)"
    },
    (Fraction, ""): {"numerator must be less than or equal to denominator": "self.numerator <= self.denominator"},
    (PathModifier, ""): modifier("ReplaceFullPath", "replaceFullPath") | modifier("ReplacePrefixMatch", "replacePrefixMatch"),
    (PathMatch, ""): path_rules(),
    (Timeouts, ""): {
        "backendRequest timeout cannot be longer than request timeout": "!has(self.request) || !has(self.backendRequest) || duration(self.request) == duration('0s') || duration(self.backendRequest) <= duration(self.request)"
    },
    (GRPCMethod, ""): {
        "One or both of 'service' or 'method' must be specified": "has(self.service) || has(self.method)",
        f"service must only contain valid characters (matching {GRPC_SERVICE})": f"self.type != 'Exact' || !has(self.service) || self.service.matches({raw(GRPC_SERVICE)})",
        f"method must only contain valid characters (matching {GRPC_METHOD})": f"self.type != 'Exact' || !has(self.method) || self.method.matches({raw(GRPC_METHOD)})",
    },
}  # fmt: skip
