"""Match conditions, of webhooks and of policies: compiled once, refused in upstream's words where they do not compile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kybern.api import names
from kybern.api.admissionregistration_v1 import MatchCondition
from kybern.api.invalid import FieldError, duplicate, invalid_value, required, too_many
from kybern.cel import BOOL, CompileFailed, Environment, Program, WrongResult
from kybern.registry.expressions import HOOK_ENVIRONMENT

CONDITIONS_MAX = 64
PROGRAMS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    program: Program | None
    """None where it is stored although it does not compile."""
    wrong: str = ""


@lru_cache(maxsize=PROGRAMS_KEPT)
def compiled(condition: MatchCondition, environment: Environment = HOOK_ENVIRONMENT) -> Condition:
    try:
        return Condition(condition.name, environment.compile(condition.expression, BOOL))
    except CompileFailed as error:
        return Condition(condition.name, None, told(error))


def told(error: CompileFailed) -> str:
    return str(error) if isinstance(error, WrongResult) else f"compilation failed: {error}"


def validate(
    conditions: Sequence[MatchCondition] | None, at: str, environment: Environment = HOOK_ENVIRONMENT
) -> Iterator[FieldError]:
    found = conditions or ()
    if len(found) > CONDITIONS_MAX:
        yield too_many(at, len(found), CONDITIONS_MAX)
    seen: set[str] = set()
    for index, condition in enumerate(found):
        yield from validate_one(condition, f"{at}[{index}]", environment)
        if condition.name in seen:
            yield duplicate(f"{at}[{index}].name", condition.name)
        seen.add(condition.name)


def validate_one(condition: MatchCondition, at: str, environment: Environment) -> Iterator[FieldError]:
    if not condition.expression.strip():
        yield required(f"{at}.expression")
    else:
        made = compiled(condition, environment)
        if made.program is None:
            yield invalid_value(f"{at}.expression", condition.expression, made.wrong)
    if not condition.name:
        yield required(f"{at}.name")
    else:
        for wrong in names.qualified_name(condition.name):
            yield invalid_value(f"{at}.name", condition.name, wrong)
