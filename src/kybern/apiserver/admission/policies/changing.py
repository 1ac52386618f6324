"""What bound policies make of a request's object: each mutation sees what the former made, and says what shall be, or how to get there.

An apply configuration is merged like one of server-side apply, except that it may not replace what has one owner as a
whole; a JSON patch is a list of operations.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kybern.aio.beside import beside
from kybern.api import schema
from kybern.api.apply.merge import merged
from kybern.api.errors import ApiError, Forbidden
from kybern.api.meta_v1 import Status, StatusCause, StatusDetails
from kybern.api.patches import apply_json_patch
from kybern.api.schema import Node
from kybern.api.strict import Malformed, unknown_fields
from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.admission.policies.evaluation import (
    POLICY_COST_MAX,
    Evaluation,
    Failed,
    OutOfPolicyBudget,
    namespace_of,
)
from kybern.apiserver.admission.policies.json_values import NoJson, json_of
from kybern.apiserver.admission.policies.judging import name_of
from kybern.apiserver.admission.policies.matching import Concerned, Misconfigured, concerned
from kybern.apiserver.admission.policies.source import Bound
from kybern.apiserver.admission.webhooks.review import Denied
from kybern.apiserver.request import Admission, Called, Objects
from kybern.registry.matchconditions import Broken
from kybern.registry.policyprograms import Expression

NAME = "MutatingAdmissionPolicy"
KEPT = ("kind", "apiVersion")


class Wrong(Exception):
    """A mutation cannot be made."""


class Changes:
    def __init__(self, inputs: Inputs, matcher: Matcher) -> None:
        self.inputs = inputs
        self.matcher = matcher

    async def make(self, policies: Sequence[Bound], admission: Admission) -> None:
        """ApiError where a policy whose failures count cannot be evaluated, or its mutation not be made."""
        again = admission.reinvocation.of(NAME, admission.object)
        wrong: list[Misconfigured] = []
        async for found in concerned(self.matcher, policies, admission):
            if isinstance(found, Misconfigured):
                wrong.append(found)
                continue
            async for params in found.each():
                try:
                    await self.invoked(found, params, again)
                except (Broken, Failed, OutOfPolicyBudget, Wrong) as error:
                    wrong.append(Misconfigured(found.bound, found.binding, str(error), "Invalid"))
        again.left = admission.object
        refusals = [each for each in wrong if not each.bound.fails_open]
        if refusals:
            raise refusal(admission, refusals)

    async def invoked(self, found: Concerned, params: Any, again: Called) -> None:
        versioned = found.versioned
        asking = Asking(versioned.admission.user, self.inputs.authorizer)
        namespace, policy = namespace_of(versioned, self.matcher), await found.bound.program()
        left = POLICY_COST_MAX

        def begun(at_once: int | None) -> Evaluation:
            evaluation = Evaluation(policy, versioned, params, namespace, asking, at_once)
            evaluation.budget.left = left
            return evaluation

        if not await asking.evaluated(lambda at_once: begun(at_once).concerned()):
            return
        key = f"{found.bound.name}/{name_of(found.binding)}/{identity(params)}"
        if not again.may_call(key):
            return
        before, admission = versioned.object, versioned.admission
        if versioned.changeable:
            for mutation, expression in policy.mutations:
                value, left = await asking.evaluated(lambda at_once: spent(begun(at_once), expression))  # noqa: B023
                await change(versioned, value, self.inputs.objects, is_patch=mutation.patch_type == "JSONPatch")
        if await beside(lambda: versioned.object != before, admission.is_long):
            again.changed()
        if found.bound.policy.spec.reinvocation_policy == "IfNeeded":
            again.former.add(key)


def spent(evaluation: Evaluation, expression: Expression) -> tuple[Any, int]:
    """What it gives, and what is left for those after it."""
    return evaluation.value(expression), evaluation.budget.left


def identity(params: Any) -> str:
    return "" if params is None else f"{params['metadata'].get('namespace', '')}/{params['metadata'].get('name', '')}"


async def change(versioned: Versioned, value: Any, objects: Objects, *, is_patch: bool) -> None:
    try:
        made = json_of(value, "" if is_patch else "Object")
    except NoJson as error:
        raise Wrong(str(error)) from None
    before = versioned.object
    document = await beside(
        lambda: patched(before, made) if is_patch else configured(before, made, versioned), versioned.admission.is_long
    )
    if not isinstance(document, dict) or any(document.get(key) != before.get(key) for key in KEPT):
        raise Wrong("a mutation may not change what an object is")
    try:
        await versioned.change(document, objects)
    except Malformed as error:
        raise Wrong(f"error applying patch: {error}") from None


def patched(before: Any, operations: Any) -> Any:
    try:
        return apply_json_patch(before, [operation_of(each) for each in operations])
    except ApiError as error:
        raise Wrong(f"JSON Patch: {error.message}") from None


def operation_of(found: Any) -> Any:
    """A removal has no value, and what is tested against nothing has null."""
    if found.get("op") in ("add", "replace", "test"):
        return {"value": None, **found}
    return found


def configured(before: Any, applied: Any, versioned: Versioned) -> Any:
    part, kind = versioned.part, versioned.resource.kind
    node = schema.of(part.kind.type if part is not None and part.kind is not None else kind.type)
    unknown = [f".{path}" for path in unknown_fields(node, applied)]
    if unknown:
        why = f"failed to convert patch object to typed object: {unknown[0]}: field not declared in schema"
        raise Wrong(f"error applying patch: {why}")
    atomic = list(atomic_places(node, applied, ""))
    if atomic:
        told = f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
        raise Wrong(f"error applying patch: invalid ApplyConfiguration: {told}")
    return merged(node, before, applied)


def atomic_places(node: Node, value: Any, at: str) -> Iterator[str]:
    """Where something that has one owner as a whole would be replaced, in parts that nobody meant."""
    if isinstance(value, dict | list) and node.atomic and node.form != "scalar":
        yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from atomic_places(node.child(key), item, f"{at}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from atomic_places(node.item, item, f"{at}[{index}]")


def refusal(admission: Admission, wrong: list[Misconfigured]) -> ApiError:
    told = []
    for each in wrong:
        policy = f'policy "{each.bound.name}"'
        if each.binding is not None:
            policy = f"policy '{each.bound.name}' with binding '{name_of(each.binding)}'"
        told.append(f"{policy} denied request: {each.why}")
    kind = admission.resource.kind
    details = StatusDetails(
        name=admission.name or None,
        group=kind.group or None,
        kind=kind.plural,
        causes=tuple(StatusCause(message=each) for each in told),
    )
    return Denied(
        Status(status="Failure", message=told[0], reason=wrong[0].reason, details=details, code=Forbidden.code)
    )
