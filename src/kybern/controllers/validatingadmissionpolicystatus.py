"""ValidatingAdmissionPolicy status: a policy's expressions, checked against the types of what it is about.

A policy is stored when its expressions make sense for objects of any kind. What they say about a Deployment, whose fields
are known, is checked here, and told in `status.typeChecking`: a warning, for the policy works as far as it goes.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from msgspec.structs import replace

from kybern.aio.beside import beside
from kybern.api import schema
from kybern.api.admissionregistration_v1 import (
    ExpressionWarning,
    NamedRuleWithOperations,
    TypeChecking,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicySpec,
)
from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.codec import to_builtins
from kybern.api.kinds import KINDS
from kybern.client import Client, View
from kybern.reconcile import Context, Controller
from kybern.registry.resource import is_large

KINDS_CHECKED_MAX = 10
"""Upstream's: a policy about everything would be checked for ever."""

GroupVersionResource = tuple[str, str, str]
Named = tuple[str, Any]
"""`apps/v1, Kind=Deployment`, and its type."""


async def reconcile(policy: ValidatingAdmissionPolicy, view: View, client: Client, context: Context) -> None:
    generation = policy.metadata.generation
    if policy.status.observed_generation == generation:
        return
    types = {**built_in_types(), **custom_types(view.list(CustomResourceDefinition))}
    warnings = await beside(lambda: tuple(checked(policy.spec, types)), is_large(policy))
    checking = TypeChecking(expression_warnings=warnings or None)
    status = replace(policy.status, observed_generation=generation, type_checking=checking)
    await client.update_status(replace(policy, status=status))


@cache
def built_in_types() -> Mapping[GroupVersionResource, Named]:
    from kybern.cel.schema import of_node  # with the engine, only where there is a policy

    return {
        (kind.group, kind.version, kind.plural): (
            f"{kind.api_version}, Kind={kind.kind}",
            of_node(schema.of(kind.type), kind.kind),
        )
        for kind in KINDS
        if "get" in kind.verbs
    }


def custom_types(definitions: Iterable[CustomResourceDefinition]) -> Mapping[GroupVersionResource, Named]:
    from kybern.cel.schema import typed_by

    found = {}
    for definition in definitions:
        group, names = definition.spec.group, definition.spec.names
        for version in definition.spec.versions:
            openapi = to_builtins(version.schema.open_apiv3_schema) if version.schema is not None else None
            typed = typed_by(openapi, root=True, name=names.kind) if openapi else None
            if typed is not None and version.served:
                name = f"{group}/{version.name}, Kind={names.kind}"
                found[group, version.name, names.plural] = (name, typed.type)
    return found


def checked(
    spec: ValidatingAdmissionPolicySpec, types: Mapping[GroupVersionResource, Named]
) -> Iterator[ExpressionWarning]:
    """One warning for each expression, about all kinds for which it makes no sense."""
    from kybern.registry.policyprograms import Kinds, compile_policy

    params = params_type(spec, types)
    compiled = [
        (name, compile_policy(spec, Kinds(type_) if params is None else Kinds(type_, params)))
        for name, type_ in kinds_of(spec, types)
    ]
    for index in range(len(spec.validations or ())):
        for field in ("expression", "message"):
            told = []
            for name, policy in compiled:
                expression = getattr(policy.checks[index], field)
                if expression is not None and expression.program is None:
                    told.append(f"{name}: {expression.wrong.removeprefix('compilation failed: ')}")
            if told:
                at = f"spec.validations[{index}].{'messageExpression' if field == 'message' else field}"
                yield ExpressionWarning(field_ref=at, warning="\n".join(told))


def kinds_of(spec: ValidatingAdmissionPolicySpec, types: Mapping[GroupVersionResource, Named]) -> list[Named]:
    """What the policy names one by one; of what it says `*` nothing is known."""
    constraints = spec.match_constraints
    found: dict[str, Any] = {}
    for rule in (constraints.resource_rules if constraints is not None else None) or ():
        for key in named_by(rule):
            if key in types:
                name, type_ = types[key]
                found.setdefault(name, type_)
    return list(found.items())[:KINDS_CHECKED_MAX]


def named_by(rule: NamedRuleWithOperations) -> Iterator[GroupVersionResource]:
    parts = (rule.api_groups or (), rule.api_versions or (), rule.resources or ())
    if any("*" in value for values in parts for value in values):
        return
    groups, versions, resources = parts
    yield from ((group, version, plural) for group in groups for version in versions for plural in resources)


def params_type(spec: ValidatingAdmissionPolicySpec, types: Mapping[GroupVersionResource, Named]) -> Any:
    """None where they may be anything."""
    kind = spec.param_kind
    wanted = f"{kind.api_version}, Kind={kind.kind}" if kind is not None else ""
    return next((type_ for name, type_ in types.values() if name == wanted), None)


VALIDATINGADMISSIONPOLICY_STATUS = Controller(
    name="validatingadmissionpolicy-status",
    reconciles=ValidatingAdmissionPolicy,
    reads=(CustomResourceDefinition,),
    by=reconcile,
)
