"""A policy's expressions, compiled: what validation refuses, and what admission evaluates.

- A variable may use those before it; its type is what its expression has.
- `params` is there where the policy has a kind of them; a message may not ask the authorizer, which would be dear.
- A mutation says `Object{...}` or `JSONPatch{...}`: types that exist for expressions only, of any fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.api import names
from kybern.api.admissionregistration_v1 import Mutation, Validation
from kybern.api.invalid import FieldError, duplicate, invalid_value, required
from kybern.cel import (
    BOOL,
    DYN,
    STRING,
    CompileFailed,
    Environment,
    Field,
    ObjectType,
    Program,
    Type,
    list_of,
    object_of,
)
from kybern.cel.functions import table
from kybern.cel.libraries import KUBERNETES
from kybern.cel.libraries.jsonpatch import JSON_PATCH
from kybern.cel.types import NULL
from kybern.registry.expressions import ABOUT_THE_REQUEST, AUTHORIZERS, NAMESPACE, struct
from kybern.registry.matchconditions import Condition, compiled_in

MUTATION_FUNCTIONS = {**KUBERNETES, **table((JSON_PATCH,))}
PATCH_TYPE = struct("JSONPatch", op=STRING, path=STRING, **{"from": STRING}, value=DYN)


class AnyFields(Mapping[str, Field]):
    """An object whose fields nobody knows: each is there, of any type."""

    def __getitem__(self, name: str) -> Field:
        return Field(DYN, name)

    def get(self, name: str, default: Any = None) -> Field:
        return Field(DYN, name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1


ANY_FIELDS = AnyFields()


def mutation_type(name: str) -> ObjectType | None:
    if name == "JSONPatch":
        return PATCH_TYPE
    if name == "Object" or name.startswith("Object."):
        return object_of(name, lambda: ANY_FIELDS)
    return None


OBJECT_TYPE = object_of("Object", lambda: ANY_FIELDS)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The types of what a policy is about, where they are known."""

    object: Type = DYN
    params: Type = DYN


ANY_KINDS = Kinds()


@dataclass(frozen=True, slots=True)
class Expression:
    source: str
    program: Program | None
    wrong: str = ""
    """Why there is no program."""


@dataclass(frozen=True, slots=True)
class Check:
    rule: Validation
    expression: Expression
    message: Expression | None


@dataclass(frozen=True, slots=True)
class Policy:
    variables: Mapping[str, Expression] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    checks: tuple[Check, ...] = ()
    annotations: tuple[tuple[str, Expression], ...] = ()
    mutations: tuple[tuple[Mutation, Expression], ...] = ()


def environment_of(spec: Any, kinds: Kinds, *, mutating: bool) -> Environment:
    about = {**ABOUT_THE_REQUEST, "object": kinds.object, "oldObject": kinds.object}
    variables = {**about, "namespaceObject": NAMESPACE}
    if spec.param_kind is not None:
        variables["params"] = kinds.params
    if mutating:
        return Environment(variables, functions=MUTATION_FUNCTIONS, structs=mutation_type)
    return Environment(variables)


def expression(environment: Environment, source: str, *results: Type) -> Expression:
    try:
        return Expression(source, environment.compile(source, *results))
    except CompileFailed as error:
        return Expression(source, None, error.told())


def compile_policy(spec: Any, kinds: Kinds = ANY_KINDS) -> Policy:
    mutating = hasattr(spec, "mutations")
    plain = environment_of(spec, kinds, mutating=mutating)
    full = plain.extended(AUTHORIZERS)
    variables: dict[str, Expression] = {}
    fields: dict[str, Type] = {}
    for variable in spec.variables or ():
        found = expression(with_variables(full, fields), variable.expression)
        variables[variable.name] = found
        fields[variable.name] = found.program.type if found.program is not None else DYN
    full, plain = with_variables(full, fields), with_variables(plain, fields)
    conditions = tuple(compiled_in(full, condition) for condition in spec.match_conditions or ())
    if mutating:
        mutations = tuple((each, mutation(full, each)) for each in spec.mutations or ())
        return Policy(variables, conditions, mutations=mutations)
    return Policy(
        variables,
        conditions,
        tuple(check(full, plain, rule) for rule in spec.validations or ()),
        tuple(
            (each.key, expression(full, each.value_expression, STRING, NULL)) for each in spec.audit_annotations or ()
        ),
    )


def with_variables(environment: Environment, fields: Mapping[str, Type]) -> Environment:
    return environment.extended({"variables": struct("kubernetes.variables", **fields)})


def check(full: Environment, plain: Environment, rule: Validation) -> Check:
    message = expression(plain, rule.message_expression, STRING) if rule.message_expression else None
    return Check(rule, expression(full, rule.expression, BOOL), message)


def mutation(environment: Environment, found: Mutation) -> Expression:
    if found.apply_configuration is not None:
        return expression(environment, found.apply_configuration.expression or "", OBJECT_TYPE)
    if found.json_patch is not None:
        return expression(environment, found.json_patch.expression or "", list_of(PATCH_TYPE))
    return Expression("", None, "neither applyConfiguration nor jsonPatch")


# --- what is wrong with them ------------------------------------------------------------------------------------------


def wrong_expression(at: str, found: Expression) -> Iterator[FieldError]:
    if not found.source.strip():
        yield required(at, "expression is not specified")
    elif found.program is None:
        yield invalid_value(at, found.source, found.wrong)


def wrong_variables(spec: Any, policy: Policy) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, variable in enumerate(spec.variables or ()):
        at = f"spec.variables[{index}]"
        if not variable.name:
            yield required(f"{at}.name", "name is not specified")
        elif any(True for _ in names.c_identifier(variable.name)):
            yield invalid_value(f"{at}.name", variable.name, "name is not a valid CEL identifier")
        elif variable.name in seen:
            yield duplicate(f"{at}.name", variable.name)
        seen.add(variable.name)
        yield from wrong_expression(f"{at}.expression", policy.variables[variable.name])
