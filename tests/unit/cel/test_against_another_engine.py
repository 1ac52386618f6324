"""The same expressions, made up at random, on this engine and on Google's: the same values, or an error on both."""

import random
from typing import Any

import pytest

from kybern.cel import DYN, INT, STRING, Budget, CompileFailed, Environment, EvaluationError, list_of

oracle = pytest.importorskip("cel_expr_python.cel")
EXPRESSIONS_A_SEED = 400
VALUES: dict[str, Any] = {
    "i": 7,
    "s": "kubernetes",
    "xs": [3, 1, 2],
    "d": {"a": 1, "b": [1, 2], "c": "text", "n": None},
}


def theirs() -> Any:
    from cel_expr_python.ext import ext_optional, ext_strings

    types = oracle.Type
    variables = {"i": types.INT, "s": types.STRING, "xs": types.List(types.INT), "d": types.DYN}
    return oracle.NewEnv(variables=variables, extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()])


OURS = Environment({"i": INT, "s": STRING, "xs": list_of(INT), "d": DYN})


def made_up(rng: random.Random, kind: str, depth: int) -> str:
    if depth == 0:
        leaves = {
            "int": ["0", "1", "-3", "7", "i", "xs[0]", "xs[9]", "d.a", "size(s)", "9223372036854775807"],
            "bool": ["true", "false", "has(d.a)", "has(d.x)", "d.x"],
            "string": ["''", "'a'", "s", "'é'", "d.c", "'12'"],
            "list": ["xs", "[]", "[1, 2]", "d.b"],
        }
        return rng.choice(leaves[kind])

    def part(of: str) -> str:
        return made_up(rng, of, rng.randrange(depth))

    forms = {
        "int": [
            lambda: f"({part('int')} {rng.choice('+-*/%')} {part('int')})",
            lambda: f"{part('list')}.size()",
            lambda: f"int({part('string')})",
            lambda: f"{part('string')}.size()",
            lambda: f"({part('bool')} ? {part('int')} : {part('int')})",
            lambda: f"{part('list')}[{part('int')}]",
            lambda: f"{part('string')}.indexOf({part('string')})",
        ],
        "bool": [
            lambda: f"({part('bool')} && {part('bool')})",
            lambda: f"({part('bool')} || {part('bool')})",
            lambda: f"!{part('bool')}",
            lambda: f"({part('int')} {rng.choice(['<', '<=', '==', '!=', '>', '>='])} {part('int')})",
            lambda: f"({part('string')} {rng.choice(['<', '==', '>='])} {part('string')})",
            lambda: f"({part('int')} in {part('list')})",
            lambda: (
                f"{part('list')}.{rng.choice(['all', 'exists', 'exists_one'])}(x, x {rng.choice(['<', '==', '>'])} {part('int')})"
            ),
            lambda: f"{part('string')}.{rng.choice(['startsWith', 'endsWith', 'contains'])}({part('string')})",
            lambda: f"({part('list')} == {part('list')})",
        ],
        "string": [
            lambda: f"({part('string')} + {part('string')})",
            lambda: f"string({part('int')})",
            lambda: f"{part('string')}.substring({part('int')})",
            lambda: f"{part('string')}.replace({part('string')}, {part('string')})",
            lambda: f"{part('string')}.charAt({part('int')})",
            lambda: f"({part('bool')} ? {part('string')} : {part('string')})",
        ],
        "list": [
            lambda: f"{part('list')}.map(x, x + {part('int')})",
            lambda: f"{part('list')}.filter(x, x > {part('int')})",
            lambda: f"({part('list')} + {part('list')})",
            lambda: f"[{part('int')}, {part('int')}]",
        ],
    }
    return rng.choice(forms[kind])()


def here(expression: str) -> Any:
    try:
        return OURS.compile(expression).evaluate(VALUES, Budget(10_000_000))
    except CompileFailed:
        return "refused"
    except EvaluationError:
        return "error"


def there(environment: Any, expression: str) -> Any:
    try:
        program = environment.compile(expression)
    except RuntimeError:
        return "refused"
    try:
        found = program.eval(data=VALUES)
    except RuntimeError:
        return "error"
    if found.type() == oracle.Type.ERROR:
        return "error"
    return found.plain_value()


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_mean_the_same_on_both_engines(seed: int) -> None:
    rng, environment = random.Random(seed), theirs()
    differing = []
    for _ in range(EXPRESSIONS_A_SEED):
        expression = made_up(rng, rng.choice(["int", "bool", "string", "list"]), 4)
        ours, oracles = here(expression), there(environment, expression)
        if ours != oracles or (type(ours) is bool) != (type(oracles) is bool):
            differing.append((expression, ours, oracles))
    assert differing == []
