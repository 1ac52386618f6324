"""The Gateway API's rules in an API server: each refuses what it is there for, in the specification's words, and nothing else."""

import asyncio
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from kybern.api.errors import Invalid
from kybern.client import Client
from kybern.network.gateway.definitions import definitions
from kybern.network.gateway.objects import Gateway, GatewayClass, GatewayStatus, GRPCRoute, HTTPRoute, StatusAddress
from kybern.network.gateway.status import CONTROLLER
from kybern.network.gateway.validations import RULES
from kybern.testing.cluster import running
from kybern.testing.virtual import run

Spec = dict[str, Any]
HEADERS: Spec = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}
ANSWERS = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["a"]}}
MIRROR: Spec = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a", "port": 80}}}
CORS = {
    "type": "CORS",
    "cors": {"allowOrigins": ["https://*.a.io", "http://b:8080"], "allowMethods": ["*"], "allowHeaders": ["*"]},
}
EXTENSION = {"type": "ExtensionRef", "extensionRef": {"group": "x.io", "kind": "Limit", "name": "a"}}
REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}
REWRITE = {"type": "URLRewrite", "urlRewrite": {"hostname": "x.io"}}
PREFIX = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/b"}}
MOVED, CHANGED = {**REDIRECT, "requestRedirect": PREFIX}, {**REWRITE, "urlRewrite": PREFIX}
EXACTLY = [{"path": {"type": "Exact", "value": "/a"}}]


def gateway(*listeners: Spec, **more: Any) -> Spec:
    return {"gatewayClassName": "x", "listeners": list(listeners) or [listener()], **more}


def listener(name: str = "a", port: int = 80, protocol: str = "HTTP", **more: Any) -> Spec:
    return {"name": name, "port": port, "protocol": protocol, **more}


def rule(*filters: Spec, **more: Any) -> Spec:
    return {"rules": [{"filters": list(filters), **more}]}


def backend(*filters: Spec, **more: Any) -> Spec:
    return {"backendRefs": [{"name": "a", "port": 80, "filters": list(filters)}], **more}


def path(value: str) -> Spec:
    return {"rules": [{"matches": [{"path": {"value": value}}]}]}


def changing(**path: str) -> Spec:
    return rule({"type": "URLRewrite", "urlRewrite": {"path": path}})


def parents(*references: Spec) -> Spec:
    return {"parentRefs": [{"name": "a", **reference} for reference in references]}


CERTIFICATE = {"certificateRefs": [{"name": "a"}]}
WRONG: list[tuple[type, Spec, str]] = [
    (Gateway, gateway(addresses=[{"value": "192.0.2.1"}] * 2), "IPAddress values must be unique"),
    (Gateway, gateway(addresses=[{"type": "Hostname", "value": "a.io"}] * 2), "Hostname values must be unique"),
    (Gateway, gateway(addresses=[{"type": "Hostname", "value": "a_b"}]), "Hostname value must be empty or contain only valid characters (matching ^"),
    (Gateway, gateway(infrastructure={"labels": {"a/b/c": ""}}), "Label keys must be in the form of an optional DNS subdomain prefix"),
    (Gateway, gateway(infrastructure={"labels": {f"{'a.' * 126}aa/b": ""}}), "If specified, the label key's prefix must be a DNS subdomain"),
    (Gateway, gateway(infrastructure={"annotations": {"": ""}}), "Annotation keys must be in the form of an optional DNS subdomain prefix"),
    (Gateway, gateway(infrastructure={"annotations": {f"{'a.' * 126}aa/b": ""}}), "If specified, the annotation key's prefix must be a DNS subdomain"),
    (Gateway, gateway(listener(tls=CERTIFICATE)), "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"),
    (Gateway, gateway(listener(protocol="HTTPS", tls={"mode": "Passthrough"})), "tls mode must be Terminate for protocol HTTPS"),
    (Gateway, gateway(listener(protocol="TLS")), "tls mode must be set for protocol TLS"),
    (Gateway, gateway(listener(protocol="TCP", hostname="a.io")), "hostname must not be specified for protocols ['TCP', 'UDP']"),
    (Gateway, gateway(listener("a"), listener("b")), "Combination of port, protocol and hostname must be unique for each listener"),
    (Gateway, gateway(listener(protocol="HTTPS", tls={"mode": "Terminate", "certificateRefs": [], "options": {}})), "certificateRefs or options must be specified when mode is Terminate"),
    (HTTPRoute, parents({}, {"sectionName": "b"}), "sectionName must be specified when parentRefs includes 2 or more references to the same parent"),
    (HTTPRoute, parents({"sectionName": "b"}, {"sectionName": "b"}), "sectionName must be unique when parentRefs includes 2 or more references to the same parent"),
    (GRPCRoute, parents({"namespace": "b"}, {"namespace": "b"}), "sectionName must be unique when parentRefs includes 2 or more references to the same parent"),
    (HTTPRoute, {"rules": [{"matches": [{}] * 64}] * 2 + [{}]}, "the total number of matches across all rules in a route must be less than 128"),
    (GRPCRoute, {"rules": [{"matches": [{}] * 64}] * 2 + [{"matches": [{}]}]}, "the total number of matches across all rules in a route must be less than 128"),
    (HTTPRoute, rule(REDIRECT, **backend()), "RequestRedirect filter must not be used together with backendRefs"),
    (HTTPRoute, rule(MOVED, matches=EXACTLY), "When using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"),
    (HTTPRoute, rule(CHANGED, matches=[{}, {"method": "GET"}]), "When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"),
    (HTTPRoute, rule(**backend(MOVED, matches=EXACTLY)), "Within backendRefs, when using RequestRedirect filter with path.replacePrefixMatch"),
    (HTTPRoute, rule(**backend(CHANGED, matches=EXACTLY)), "Within backendRefs, When using URLRewrite filter with path.replacePrefixMatch"),
    (HTTPRoute, rule(REDIRECT, REWRITE), "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both"),
    (HTTPRoute, rule(HEADERS, HEADERS), "RequestHeaderModifier filter cannot be repeated"),
    (HTTPRoute, rule(CORS, CORS), "CORS filter cannot be repeated"),
    (HTTPRoute, rule({"type": "CORS", "cors": {"allowOrigins": ["*", "https://a.io"]}}), "AllowOrigins cannot contain '*' alongside other origins"),
    (HTTPRoute, rule({"type": "CORS", "cors": {"allowMethods": ["*", "GET"]}}), "AllowMethods cannot contain '*' alongside other methods"),
    (HTTPRoute, rule({"type": "CORS", "cors": {"allowHeaders": ["*", "a"]}}), "AllowHeaders cannot contain '*' alongside other methods"),
    (HTTPRoute, rule({**HEADERS, "type": "CORS"}), "filter.cors must be specified for CORS filter.type"),
    (HTTPRoute, rule(REDIRECT, REDIRECT), "RequestRedirect filter cannot be repeated"),
    (HTTPRoute, rule(**backend(REWRITE, REWRITE)), "URLRewrite filter cannot be repeated"),
    (GRPCRoute, rule(ANSWERS, ANSWERS), "ResponseHeaderModifier filter cannot be repeated"),
    (GRPCRoute, rule(**backend(HEADERS, HEADERS)), "RequestHeaderModifier filter cannot be repeated"),
    (HTTPRoute, rule({**HEADERS, "type": "URLRewrite"}), "filter.urlRewrite must be specified for URLRewrite filter.type"),
    (HTTPRoute, rule({**HEADERS, **REWRITE}), "filter.requestHeaderModifier must be nil if the filter.type is not RequestHeaderModifier"),
    (HTTPRoute, rule(**backend({"type": "ExtensionRef"})), "filter.extensionRef must be specified for ExtensionRef filter.type"),
    (GRPCRoute, rule({**MIRROR, **ANSWERS}), "filter.requestMirror must be nil if the filter.type is not RequestMirror"),
    (GRPCRoute, rule(**backend({"type": "RequestMirror"})), "filter.requestMirror must be specified for RequestMirror filter.type"),
    (HTTPRoute, {"rules": [{"backendRefs": [{"name": "a"}]}]}, "Must have port for Service reference"),
    (GRPCRoute, {"rules": [{"backendRefs": [{"name": "a"}]}]}, "Must have port for Service reference"),
    (HTTPRoute, rule({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "a"}}}), "Must have port for Service reference"),
    (HTTPRoute, rule({"type": "RequestMirror", "requestMirror": {**MIRROR["requestMirror"], "percent": 1, "fraction": {"numerator": 1}}}), "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter"),
    (HTTPRoute, rule({"type": "RequestMirror", "requestMirror": {**MIRROR["requestMirror"], "fraction": {"numerator": 101}}}), "numerator must be less than or equal to denominator"),
    (HTTPRoute, changing(type="ReplaceFullPath"), "replaceFullPath must be specified when type is set to 'ReplaceFullPath'"),
    (HTTPRoute, changing(type="ReplaceFullPath", replaceFullPath="/", replacePrefixMatch="/"), "type must be 'ReplacePrefixMatch' when replacePrefixMatch is set"),
    (HTTPRoute, path("a"), "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']"),
    (HTTPRoute, path("/a//b"), "must not contain '//' when type one of ['Exact', 'PathPrefix']"),
    (HTTPRoute, path("/a/./b"), "must not contain '/./' when"),
    (HTTPRoute, path("/a/../b"), "must not contain '/../' when"),
    (HTTPRoute, path("/a%2fb"), "must not contain '%2f' when"),
    (HTTPRoute, path("/a%2Fb"), "must not contain '%2F' when"),
    (HTTPRoute, path("/a#b"), "must not contain '#' when"),
    (HTTPRoute, path("/a/.."), "must not end with '/..' when"),
    (HTTPRoute, path("/a/."), "must not end with '/.' when"),
    (HTTPRoute, path("/a b"), "must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$) for types ['Exact', 'PathPrefix']"),
    (HTTPRoute, rule(timeouts={"request": "1s", "backendRequest": "2s"}), "backendRequest timeout cannot be longer than request timeout"),
    (GRPCRoute, {"rules": [{"matches": [{"method": {}}]}]}, "One or both of 'service' or 'method' must be specified"),
    (GRPCRoute, {"rules": [{"matches": [{"method": {"service": "a b"}}]}]}, "service must only contain valid characters (matching ^(?i)"),
    (GRPCRoute, {"rules": [{"matches": [{"method": {"method": "1"}}]}]}, "method must only contain valid characters (matching ^[A-Za-z_]"),
]  # fmt: skip

RIGHT: list[tuple[type, Spec]] = [
    (Gateway, gateway(
        listener("a"), listener("b", hostname="b.io"), listener("c", 443, "HTTPS", tls=CERTIFICATE),
        listener("d", 444, "TLS", tls={"mode": "Passthrough"}), listener("e", 80, "TCP"),
        addresses=[{"value": "192.0.2.1"}, {"value": "192.0.2.2"}, {"type": "Hostname", "value": "*.a.io"}, {}, {}],
        infrastructure={"labels": {"x.io/a": "b"}, "annotations": {"a": "b c"}},
    )),
    (HTTPRoute, rule(
        HEADERS, ANSWERS, CORS, MIRROR, MIRROR, EXTENSION, CHANGED, **backend(HEADERS, MIRROR),
        timeouts={"request": "0s", "backendRequest": "2s"},
    )),
    (HTTPRoute, rule(MOVED, matches=[{"path": {"value": "/a"}}])),
    (HTTPRoute, {"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "[a b]//"}}] * 64}] * 2}),
    (HTTPRoute, parents({"sectionName": "a"}, {"sectionName": "b"}, {"namespace": "b"}, {"name": "b"})),
    (HTTPRoute, rule({"type": "RequestMirror", "requestMirror": {**MIRROR["requestMirror"], "fraction": {"numerator": 1}}})),
    (GRPCRoute, rule(HEADERS, ANSWERS, MIRROR, EXTENSION, matches=[{"method": {"service": "a.B", "method": "C"}}], **backend(HEADERS))),
    (GRPCRoute, {"rules": [{"matches": [{"method": {"type": "RegularExpression", "service": "a|b"}}]}]}),
]  # fmt: skip


def made(kind: type, spec: Spec) -> Any:
    return convert({"metadata": {"name": "x", "namespace": "default"}, "spec": spec}, kind)


async def refused(client: Client, kind: type, spec: Spec) -> str:
    try:
        await client.create(made(kind, spec))
    except Invalid as error:
        return error.message
    await client.delete(kind, "x", "default")
    return ""


def test_each_rule_refuses_what_it_is_there_for_and_nothing_else() -> None:
    async def story() -> None:
        async with running(nodes=()) as cluster:
            for definition in definitions():
                await cluster.client.create(definition)
            await asyncio.sleep(5)
            for kind, spec, message in WRONG:
                assert message in await refused(cluster.client, kind, spec), spec
            for kind, spec in RIGHT:
                assert not await refused(cluster.client, kind, spec)

            await cluster.client.create(made(Gateway, gateway()))
            found = await cluster.client.get(Gateway, "x", "default")
            wrong = GatewayStatus(addresses=(StatusAddress(type="Hostname", value="a_b"),))
            with pytest.raises(Invalid, match="Hostname value must only contain valid characters"):
                await cluster.client.update_status(replace(found, status=wrong))

            owned = {"metadata": {"name": "x"}, "spec": {"controllerName": CONTROLLER}}
            klass = await cluster.client.create(convert(owned, GatewayClass))
            with pytest.raises(Invalid, match="Value is immutable"):
                await cluster.client.update(replace(klass, spec=replace(klass.spec, controller_name="x.io/other")))

    run(story())


def test_no_rule_is_left_out_of_these() -> None:
    elsewhere = (
        "Value is immutable",
        "Hostname value must only contain",
        "Listener name must be unique",
    )  # a key of the list
    texts = [message for _, _, message in WRONG]
    for rules in RULES.values():
        for message in rules:
            assert any(t in message for t in texts) or message.startswith(
                (*elsewhere, "filter.", "replace", "type must be")
            )
