"""Forty expressions that want to take the server down: each is refused when it is written, or stopped by its budget.

A loop that ran as long as it likes would not end within the suite's patience, and memory is held to a limit here.
"""

import resource
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kybern.aio.beside import TakesLong
from kybern.cel import (
    DYN,
    Budget,
    CompileFailed,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    OutOfBudget,
)
from kybern.cel.check import Checker
from kybern.cel.libraries.sequences import distinct, ordered, range_to
from kybern.cel.libraries.sets import contains, intersects
from kybern.cel.parse import parse
from kybern.cel.patterns import INSTRUCTIONS_KEPT, KEPT
from kybern.cel.standard import concatenated
from kybern.cel.substitution import STEPS_MAX
from kybern.cel.values import Work

ENVIRONMENT = Environment({"xs": DYN, "s": DYN})
VALUES: dict[str, Any] = {"xs": list(range(1000)), "s": "a" * 1_000_000}
NUMBERS = list(range(1000))
MEMORY_BYTES_MORE = 512 * 1024 * 1024

DOUBLED = "[{}]" + ".map(v, v + v)" * 40 + "[0].size()"
PAIRED = "[[1]]" + ".map(v, [v, v])" * 39 + ".map(v39, [[v39, v39]].map(v40, {}))"
NESTED = "xs.map(a, {})"

HOSTILE = {
    "loops in loops": "xs.all(a, xs.all(b, xs.all(c, xs.all(d, true))))",
    "loops that build": "xs.map(a, xs.map(b, xs.map(c, [a, b, c])))",
    "loops over pairs": "xs.all(i, a, xs.all(j, b, xs.all(k, c, true)))",
    "transforms of transforms": "xs.transformList(i, a, xs.transformList(j, b, xs.transformList(k, c, a)))",
    "maps of maps": "xs.transformMap(i, a, xs.transformMap(j, b, xs.transformMap(k, c, a)))",
    "exists that never finds": "xs.exists(a, xs.exists(b, xs.exists(c, false)))",
    "errors swallowed for ever": "xs.exists(a, xs.exists(b, xs.exists(c, 1 / 0 == 1)))",
    "exists_one of many": "xs.exists_one(a, xs.exists_one(b, xs.exists_one(c, true)))",
    "filters of filters": "xs.filter(a, xs.filter(b, xs.filter(c, true).size() > 0).size() > 0)",
    "a list doubled forty times": DOUBLED.format("[1]"),
    "a text doubled forty times": DOUBLED.format("'aaaaaaaaaa'"),
    "bytes doubled forty times": DOUBLED.format("b'aaaaaaaaaa'"),
    "a tree of shared leaves compared": PAIRED.format("v40 == v39 || v40 == [v39, v39]"),
    "a tree of shared leaves sought": PAIRED.format("[v39, v39] in [v40]"),
    "a tree of shared leaves shown": PAIRED.format("'%s'.format([v40])"),
    "a tree of shared leaves as a set": PAIRED.format("sets.equivalent([v40], [[v39, v39]])"),
    "a text replaced by longer ones": "s.replace('a', s)",
    "an empty text replaced": "s.replace('', s)",
    "texts of unknown type doubled": "[dyn(s)]" + ".map(v, v + v)" * 30 + ".all(v, v == v)",
    "brackets shared and taken away": "[[1]]" + ".map(v, [v, v])" * 40 + ".flatten(50)",
    "a range without an end": "lists.range(9223372036854775807)",
    "a long list sorted": "lists.range(999999).sort()",
    "a long list without doubles": "lists.range(999999).distinct()",
    "lists sorted by lists": "xs.sortBy(a, xs.sortBy(b, xs.sortBy(c, c)[0])[0])",
    "numbers with a million places": "'%.999999999f'.format([1.5])",
    "a list of what is read": "xs.all(a, xs.all(b, cidr('10.0.0.0/8').containsIP('10.' + string(a) + '.0.1')))",
    "a text joined with itself": "xs.map(a, s).join(s)",
    "a text shown often": "'%s%s%s%s%s%s%s%s%s%s%s%s'.format([s, s, s, s, s, s, s, s, s, s, s, s])",
    "texts shown in lists": "'%s'.format([xs.map(a, s)])",
    "wide hexadecimals": "xs.all(a, '%x'.format([s]).size() > 0)",
    "a catastrophic pattern": "s.matches('(a+)+$') && s.matches('(a|aa)+$') && s.matches('(.*)*b')",
    "a pattern of many repeats": "s.matches('(((a{1,100}){1,100}){1,100})')",
    "a large pattern": f"s.matches('{'(a?){100}' * 20}')",
    "a pattern made at run time": "s.matches(s)",
    "patterns in loops": "xs.all(a, xs.all(b, s.matches('a.*b')))",
    "find in loops": "xs.map(a, s.findAll('a')).size()",
    "a text split into characters": "xs.map(a, s.split('')).size()",
    "contains in loops": "xs.exists(a, s.contains('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'))",
    "lookups in long lists": "xs.all(a, xs.all(b, a in xs))",
    "sets of long lists": "xs.all(a, sets.equivalent(xs, xs))",
    "short lists as sets in turn": "[lists.range(5000)].all(a, sets.intersects(a, a.map(x, -x - 1)))",
    "a pattern of thousands of instructions": "s.find('((a{1,100}){1,10}b|(a{1,99}){1,9}c)')",
    "every letter found": "s.substring(0, 300000).findAll('a')",
    "sums in loops": "xs.all(a, xs.all(b, xs.sum() > 0))",
    "authorizer-like chains": NESTED.format(NESTED.format(NESTED.format("quantity('1').add(1)"))),
    "brackets": "(" * 100_000,
    "deep lists": "[" * 5000 + "]" * 5000,
    "deep negation": "!" * 10_000 + "true",
    "deep selects": "xs" + ".a" * 10_000,
    "deep sums": "1" + " + 1" * 10_000,
    "a long text": "'" + "a" * 200_000 + "'",
    "a huge number": "1" * 5000,
    "a huge duration": f"duration('{'9' * 5000}h')",
    "quantities of many digits": f"quantity('{'9' * 100_000}')",
    "a semantic version of many digits": f"semver('{'9' * 5000}.1.1')",
    "types that double": "[1]" + "".join(f".map(v{i}, {{v{i}: v{i}}})" for i in range(60)) + " == []",
    "parameters that double": "".join(f"[].all(v{i}, " for i in range(40))
        + " && ".join(f"[v{i}] == [{{v{i + 1}: v{i + 1}}}]" for i in reversed(range(39))) + ")" * 40,
    "names that nobody knows": "||".join(["zz"] * 25_000),
    "many empty lists": "[" + ",".join(["[]"] * 33_000) + "] == []",
    "many comparisons": "||".join(["1==1"] * 16_000),
}  # fmt: skip


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES_MORE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_expression_is_refused_or_stopped(name: str) -> None:
    try:
        program = ENVIRONMENT.compile(HOSTILE[name])
    except CompileFailed as refused:
        assert len(str(refused)) < 1_000_000
        return
    budget = Budget(10_000_000)
    try:
        program.evaluate(VALUES, budget)
    except (EvaluationError, CostLimitExceeded):
        pass
    assert budget.left >= 9_000_000, "a call costs a million at most"


def test_what_takes_too_long_ends_however_little_it_costs() -> None:
    moments = iter([0.0, 0.5, 1.0])
    budget = Budget(10_000_000, clock=lambda: next(moments))
    with pytest.raises(OutOfBudget):
        ENVIRONMENT.compile("xs.all(a, xs.all(b, true))").evaluate(VALUES, budget)
    assert budget.left == 0, "nothing more is evaluated for this object"


def test_many_short_evaluations_are_held_to_the_same_time() -> None:
    moments = iter([0.0, 0.5, 1.0])
    budget, short = Budget(10_000_000, clock=lambda: next(moments)), ENVIRONMENT.compile("xs[0] == 0")
    assert [short.evaluate(VALUES, budget) for _ in range(2)] == [True, True]
    with pytest.raises(OutOfBudget):
        short.evaluate(VALUES, budget)


def test_what_takes_long_is_not_done_while_others_wait_however_little_it_costs() -> None:
    moments = iter([0.0, 0.003, 0.005])
    budget = Budget(10_000_000, 10_000, lambda: next(moments))
    with pytest.raises(TakesLong):
        ENVIRONMENT.compile("xs.all(a, true)").evaluate(VALUES, budget)
    assert budget.left > 9_999_000, "it was seen long before its cost was too much"


SOUGHT = "'((a{1,100}){1,10}b|(a{1,99}){1,9}c)'"


@pytest.mark.parametrize("call", [f"matches({SOUGHT})", f"find({SOUGHT}) == ''", f"findAll({SOUGHT}) == []"])
def test_a_search_costs_what_its_pattern_may_take_and_not_only_its_length(call: str) -> None:
    """A few characters of a pattern can be thousands of instructions, each of them looked at for each of the text's."""
    program, budget = ENVIRONMENT.compile(f"s.{call}"), Budget(10_000_000, 10_000, lambda: 0.0)
    assert program.evaluate({"s": "a" * 100}, budget) is (call[0] == "f")
    with pytest.raises(TakesLong):
        program.evaluate({"s": "a" * 5_000}, budget)
    with pytest.raises(CostLimitExceeded):
        program.evaluate({"s": "a" * 100_000}, Budget(10_000_000, clock=lambda: 0.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda work: range_to(2_000_000_000, work),
        lambda work: distinct(NUMBERS, work),
        lambda work: ordered(NUMBERS, work),
        lambda work: contains(NUMBERS, NUMBERS[::-1], work),
        lambda work: intersects(NUMBERS, NUMBERS[::-1], work),
        lambda work: concatenated([0] * 100_000, [], work),
    ],
)
def test_what_is_known_to_be_dear_is_not_even_begun(call: Callable[[Work], Any]) -> None:
    with pytest.raises(CostLimitExceeded):
        call(Work(100))


def test_patterns_that_take_long_to_compile_count_when_they_are_written() -> None:
    dear = " || ".join(f"s.matches('a{{0,1000}}a{{0,1000}}a{{0,1000}}{number}')" for number in range(100))
    with pytest.raises(CompileFailed, match="expression type complexity limit exceeded"):
        ENVIRONMENT.compile(dear)


def test_patterns_that_take_long_to_compile_count_when_they_are_made_at_run_time() -> None:
    program = ENVIRONMENT.compile("xs.exists(x, s.matches('^a{0,1000}a{0,1000}' + string(x)))")
    with pytest.raises(CostLimitExceeded):
        program.evaluate({"xs": NUMBERS, "s": "b"}, Budget(100_000, clock=lambda: 0.0))
    cheap = ENVIRONMENT.compile("xs.exists(x, s.matches('^[a-z]+' + string(x)))")
    assert cheap.evaluate({"xs": NUMBERS, "s": "b"}, Budget(100_000, clock=lambda: 0.0)) is False


def test_patterns_that_users_bring_are_kept_by_their_size_and_those_that_stand_there_still_work() -> None:
    program = ENVIRONMENT.compile("xs.all(x, s.matches('[^b]{' + string(x) + ',300}')) && s.matches('^a+$')")
    assert program.evaluate({"xs": list(range(150)), "s": "a" * 150}, Budget(10_000_000)) is True
    sizes = [pattern.instructions for pattern in KEPT.found.values()]
    assert 0 < sum(sizes) <= KEPT.instructions <= INSTRUCTIONS_KEPT < 150 * max(sizes)
    assert KEPT.instructions == sum(pattern.weight for pattern in KEPT.found.values())


@pytest.mark.parametrize(("part", "joint"), [("[]", ","), ("1==1", ","), ("[]==[]", ","), ("s", "||"), ("{}", ",")])
def test_types_are_found_out_in_steps_that_grow_with_the_expression_alone(part: str, joint: str) -> None:
    def steps(count: int) -> int:
        checker = Checker(ENVIRONMENT.variables, ENVIRONMENT.functions, ENVIRONMENT.structs)
        checker.check(parse(f"[{joint.join([part] * count)}]"))
        return STEPS_MAX - checker.known.steps_left

    assert steps(2000) < 11 * steps(200)


def test_types_without_end_are_refused() -> None:
    with pytest.raises(CompileFailed, match="type complexity limit exceeded"):
        ENVIRONMENT.compile(HOSTILE["types that double"])


def test_a_hundred_problems_are_told_in_order_and_of_long_lines_fewer() -> None:
    with pytest.raises(CompileFailed) as refused:
        ENVIRONMENT.compile("||\n".join(f"z{number}" for number in range(300)))
    lines = str(refused.value).split("\n")
    assert lines[0] == "ERROR: <input>:1:1: undeclared reference to 'z0' (in container '')"
    assert lines[-1] == "200 more errors were truncated"
    with pytest.raises(CompileFailed) as refused:
        ENVIRONMENT.compile("||".join(["zz"] * 2000))
    assert len(str(refused.value)) < 50_000
    assert str(refused.value).endswith("1997 more errors were truncated")


def test_there_are_forty_of_them() -> None:
    assert len(HOSTILE) >= 40
