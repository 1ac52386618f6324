"""The objects that a binding gives to its policy as `params`, found by name or by labels, built-in or custom."""

from collections.abc import Sequence
from typing import Any

from kybern.api.admissionregistration_v1 import ParamKind, ParamRef
from kybern.api.codec import to_builtins
from kybern.api.selectors import of_label_selector
from kybern.apiserver.request import Objects
from kybern.registry.resource import Resource

NOT_FOUND = "no params found for policy binding with `Deny` parameterNotFoundAction"
NO_NAMESPACE = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
NOT_NAMESPACED = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"


class Unparametrised(Exception):
    """The binding asks for what cannot be had."""


class UnknownKind(Exception):
    """The policy asks for params of a kind that nobody serves."""


def kind_of(objects: Objects, kind: ParamKind | None) -> Resource | None:
    """The resource of a policy's params; None where it has none. UnknownKind where nobody serves it."""
    if kind is None:
        return None
    for resource in objects.resources():
        if (resource.kind.api_version, resource.kind.kind) == (
            kind.api_version,
            kind.kind,
        ) and "get" in resource.kind.verbs:
            return resource
    raise UnknownKind(f"failed to find resource referenced by paramKind: '{kind.api_version}, Kind={kind.kind}'")


def params_for(objects: Objects, resource: Resource | None, ref: ParamRef | None, namespace: str) -> Sequence[Any]:
    """As JSON; one None where the policy is to be evaluated without; empty where it is not to be evaluated."""
    if resource is None or ref is None:
        return [None]
    found = selected(objects, resource, ref, place(resource, ref, namespace))
    if not found and ref.parameter_not_found_action == "Deny":
        raise Unparametrised(NOT_FOUND)
    head = {"apiVersion": resource.kind.api_version, "kind": resource.kind.kind}
    return [{**to_builtins(each), **head} for each in found]


def place(resource: Resource, ref: ParamRef, namespace: str) -> str:
    if not resource.kind.namespaced:
        if ref.namespace:
            raise Unparametrised(NOT_NAMESPACED)
        return ""
    where = ref.namespace or namespace
    if not where:
        raise Unparametrised(NO_NAMESPACE)
    return where


def selected(objects: Objects, resource: Resource, ref: ParamRef, namespace: str) -> list[Any]:
    if ref.name:
        found = objects.get(resource.kind.type, ref.name, namespace)
        return [] if found is None else [found]
    if ref.selector is None:
        raise Unparametrised("one of name or selector must be provided")
    selector = of_label_selector(ref.selector)
    listed = objects.list(resource.kind.type, namespace or None)
    return [each for each in listed if selector.matches(each.metadata.labels)]
