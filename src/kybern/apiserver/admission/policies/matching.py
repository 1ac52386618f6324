"""Which policies concern a request, in which version, with which params: what validating and mutating ones share."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from kybern.api.admissionregistration_v1 import MatchResources, NamedRuleWithOperations
from kybern.api.errors import ApiError
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.matching.rules import holds
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.policies.params import UnknownKind, Unparametrised, kind_of, params_for
from kybern.apiserver.admission.policies.source import Bound
from kybern.apiserver.request import Admission

REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
}
"""Questions, not writes: no policy is asked about them, since policies ask such questions themselves."""


@dataclass(frozen=True, slots=True)
class Concerned:
    bound: Bound
    binding: Any
    versioned: Versioned
    params: Sequence[Any]

    async def each(self) -> AsyncIterator[Any]:
        """The params. Others have their turn after each: what is judged with it may take some milliseconds at once."""
        for params in self.params:
            yield params
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """A policy or binding that concerns the request and cannot be evaluated: its failure policy says what follows."""

    bound: Bound
    binding: Any
    why: str
    reason: str = "Forbidden"
    """Of the refusal that comes of it, where objects are changed."""


async def concerned(
    matcher: Matcher, policies: Sequence[Bound], admission: Admission
) -> AsyncIterator[Concerned | Misconfigured]:
    kind = admission.resource.kind
    if matcher.is_exempt(admission) or (kind.group, kind.plural) in REVIEWS:
        return
    for bound in policies:
        try:
            versioned = await matched(matcher, bound.policy.spec.match_constraints, admission)
            if versioned is None:
                continue
            resource = kind_of(matcher.objects, bound.policy.spec.param_kind)
        except (ApiError, UnknownKind) as error:
            yield Misconfigured(bound, None, f"failed to configure policy: {error}")
            continue
        for binding in bound.bindings:
            try:
                wanted = binding.spec.match_resources
                if wanted is not None and await matched(matcher, wanted, admission, any_resource=True) is None:
                    continue
                namespace = versioned.namespace
                params = params_for(matcher.objects, resource, binding.spec.param_ref, namespace)
            except (ApiError, Unparametrised) as error:
                yield Misconfigured(bound, binding, f"failed to configure binding: {error}")
                continue
            yield Concerned(bound, binding, versioned, params)


async def matched(
    matcher: Matcher, wanted: MatchResources | None, admission: Admission, *, any_resource: bool = False
) -> Versioned | None:
    """A binding without rules of its own is about all that its policy is about."""
    if wanted is None:
        return None
    operation = "CREATE" if admission.posted is not None else admission.operation
    if any(
        holds(rule, admission.resource, admission.subresource, operation) and is_named(rule, admission)
        for rule in wanted.exclude_resource_rules or ()
    ):
        return None
    rules = [rule for rule in wanted.resource_rules or () if is_named(rule, admission)]
    if not wanted.resource_rules:
        if not any_resource:
            return None
        return await matcher.selected(wanted, Versioned(admission, admission.resource))
    return await matcher.match(wanted, rules, admission)


def is_named(rule: NamedRuleWithOperations, admission: Admission) -> bool:
    return not rule.resource_names or admission.name in rule.resource_names
