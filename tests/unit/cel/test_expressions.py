"""What expressions mean: values, errors, problems, and what they cost."""

from typing import Any

import pytest

from kybern.cel import (
    BOOL,
    DYN,
    INT,
    STRING,
    Budget,
    CompileFailed,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    OutOfBudget,
    WrongResult,
    list_of,
)
from kybern.cel.libraries.authz import AUTHORIZER_TYPE, Authorizer, Decision

ENVIRONMENT = Environment({"self": DYN, "xs": list_of(INT), "s": STRING})
PLENTY = 10_000_000


def evaluated(expression: str, **values: Any) -> Any:
    return ENVIRONMENT.compile(expression).evaluate(values, Budget(PLENTY))


def cost(expression: str, **values: Any) -> int:
    budget = Budget(PLENTY)
    ENVIRONMENT.compile(expression).evaluate(values, budget)
    return PLENTY - budget.left


def problems(expression: str) -> list[str]:
    with pytest.raises(CompileFailed) as failed:
        ENVIRONMENT.compile(expression)
    return [problem.message for problem in failed.value.problems]


@pytest.mark.parametrize(
    "expression",
    [
        "1 + 2 * 3 == 7 && 7 / 2 == 3 && -7 / 2 == -3 && -7 % 2 == -1 && 2.5 * 2.0 == 5.0",
        "'a' + 'b' == \"ab\" && 'é'.size() == 1 && size('abc') == 3 && '\\u00e9\\x41\\101' == 'éAA' && r'\\n'.size() == 2",
        "b'abc' == bytes('abc') && b'\\xff'.size() == 1 && string(b'x') == 'x'",
        "true != dyn(1) && dyn(1) == 1.0 && dyn(1u) == 1 && dyn([1, 2]) == [1, 2] && {'a': 1} == {'a': 1}",
        "1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && [1, 2][1] == 2 && {'a': 1}['a'] == 1 && {1: 'x'}[1] == 'x'",
        "false && 1 / 0 > 0 ? false : true",
        "(1 / 0 > 0 || true) && !(1 / 0 > 0 && false)",
        "[1, 2, 3].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x > 1) && ![].exists(x, true)",
        "[0, 1].exists(x, 1 / x == 1) && ![0, 2].all(x, 4 / x > 2)",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6] && [1, 2].filter(x, x > 1) == [2]",
        "{'a': 1, 'b': 2}.all(k, k != 'c') && {'a': 1}.exists(k, v, k == 'a' && v == 1) && [5, 6].all(i, v, v - i == 5)",
        "[1, 2].transformList(i, v, i * v) == [0, 2] && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'} && [1, 2].transformMap(i, v, v > 1, v) == {1: 2}",
        "optional.of(1).hasValue() && !optional.none().hasValue() && optional.of(1).optMap(x, x + 1).value() == 2",
        "{'a': {'b': 1}}.?a.?b.orValue(0) == 1 && {'a': {'b': 1}}.?x.?b.orValue(0) == 0 && [1][?3].orValue(9) == 9",
        "[?optional.of(1), ?optional.none(), 2] == [1, 2] && {?'a': optional.none(), 'b': 1} == {'b': 1}",
        "optional.of({'c': 1}).c == optional.of(1) && optional.ofNonZeroValue('') == optional.none()",
        "duration('1h') == duration('60m') && duration('1.5s').getMilliseconds() == 1500 && string(duration('90s')) == '90s'",
        "timestamp('2024-02-29T12:30:45.5Z').getDayOfYear() == 59 && timestamp(0).getFullYear() == 1970",
        "timestamp('2024-01-01T23:00:00Z').getHours('+02:00') == 1 && timestamp('2024-01-07T00:00:00Z').getDayOfWeek() == 0",
        "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "string(timestamp('2024-01-01T00:00:00.120Z')) == '2024-01-01T00:00:00.12Z' && int(timestamp('1970-01-01T00:00:09Z')) == 9",
        "type(1) == int && type('') == string && type(null) == null_type && type([]) == list && type(type(1)) == type",
        "type(timestamp(0)) == google.protobuf.Timestamp",
        "int('42') == 42 && int(3.9) == 3 && uint(1) == 1u && double('1.5') == 1.5 && string(1.0) == '1' && bool('true')",
        "'abc'.matches('^a.c$') && !'abc'.matches('b$') && 'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'",
        "'Hello'.lowerAscii() == 'hello' && 'É'.lowerAscii() == 'É' && '  x '.trim() == 'x' && 'tacocat'.substring(0, 4) == 'taco'",
        "'tacocat'.indexOf('ac') == 1 && 'tacocat'.lastIndexOf('ac') == 1 && 'abc'.charAt(3) == '' && 'aaa'.replace('a', 'b', 2) == 'bba'",
        "'%s is %d, %.2f, %x, %b'.format([dyn('x'), 5, 2.0, 255, true]) == 'x is 5, 2.00, ff, 1'",
        "'%s %s'.format([dyn([1, 2]), {'b': dyn(1), 'a': null}]) == '[1, 2] {\"a\":null, \"b\":1}'",
        "'%s'.format([[dyn('x'), b'y', 1.5, duration('1m'), timestamp('2020-01-01T00:00:00Z')]]) == '[\"x\", b\"y\", 1.500000, duration(\"60s\"), timestamp(\"2020-01-01T00:00:00Z\")]'",
        "'%f %.1f %e'.format([1234.5, 1000000.0, 0.00125]) == '1,234.500000 1,000,000.0 1.250000×10⁻⁰³'",
        "'%f %f %x %X %o %b'.format(['-Infinity', 'NaN', 'hi', b'hi', 8, true]) == '-∞ NaN 6869 6869 10 1'",
        "'%d %s'.format([1, 'a']) == '1 a' && 'x%%'.format([]) == 'x%'",
        "lists.range(4) == [0, 1, 2, 3] && [5, 1, 3].reverse() == [3, 1, 5] && [1, 2, 3, 4].slice(1, 3) == [2, 3]",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [[[1]], [[2]]].flatten(2) == [1, 2] && dyn([1, 2]).flatten() == [1, 2]",
        "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b'] && [1, 2, 1, 2].distinct() == [1, 2]",
        "[{'n': 'b'}, {'n': 'a'}].sortBy(e, e.n).map(e, e.n) == ['a', 'b'] && [-3, 1, 2].sortBy(e, -(e * e)) == [-3, 2, 1]",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && !dyn([]).first().hasValue()",
        "optional.unwrap([optional.of(1), optional.none()]) == [1] && [optional.of(2)].unwrapOpt() == [2]",
        "optional.of(1).orValue(1 / 0) == 1 && optional.of(1).or(optional.of(1 / 0)).hasValue()",
        "!optional.ofNonZeroValue(duration('0s')).hasValue() && optional.ofNonZeroValue(duration('1s')).hasValue()",
        "type(ip('10.0.0.1')) == net.IP && type(cidr('10.0.0.0/8')) == net.CIDR",
        "string(timestamp('2011-08-18T19:03:37.01+01:00')) == '2011-08-18T19:03:37.01+01:00'",
        "string(timestamp('2011-08-18T19:03:37+01:00') + duration('1h')) == '2011-08-18T20:03:37+01:00'",
        "url('https://a.b/with space').getEscapedPath() == '/with%20space' && isURL('mailto:x') && !isURL('//a b/')",
        "!quantity('9999999999999999999999999999999999999G').isInteger() && quantity('50000000G').isInteger()",
        "!isSemver('', true) && isSemver('01.1', true) && semver('v1', true) == semver('1.0.0')",
        "'b' in ['a', 'b'] && !('c' in ['a', 'b']) && dyn(1.0) in [1, 2] && !(dyn(true) in [1, 2])",

        "[1, 2, 2].isSorted() && [3, 1].sum() == 4 && [3, 1].max() == 3 && ['b', 'a'].min() == 'a' && [1, 2, 1].lastIndexOf(1) == 2",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2, 2], [2, 1]) && !sets.intersects([1], [2])",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('0.5')).compareTo(quantity('1')) == 0",
        "isQuantity('1Ki') && !isQuantity('x') && quantity('2k').asInteger() == 2000 && sign(quantity('1').sub(3)) == -1 && sign(quantity('0')) == 0",
        "url('https://user@h:8080/a%20b?x=1&x=2').getHost() == 'h:8080' && url('https://[::1]:80/').getHostname() == '::1'",
        "url('/?' + lists.range(10001).map(x, 'a=b').join('&')).getQuery().a.size() == 10001",
        "url('/a/b?c=d').getQuery() == {'c': ['d']} && isURL('https://x/') && !isURL('a b') && url('http://x').getPort() == ''",
        "ip('fe80::1').isLinkLocalUnicast() && ip('10.0.0.1').family() == 4 && !isIP('10.0.0.01') && ip.isCanonical('::1')",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.2.0.0/16') && cidr('10.1.0.0/8').masked() == cidr('10.0.0.0/8')",
        "!format.dns1123Label().validate('a-b').hasValue() && format.dns1123Label().validate('A').hasValue()",
        "format.named('uuid').value().validate('x') == optional.of(['does not match the UUID format'])",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-alpha.1').compareTo(semver('1.0.0')) == -1 && isSemver('v1.0', true)",
        "has({'a': 1}.a) && !has({'a': 1}.b)",
        "{'if': 1}['if'] == 1 && 'x' in ['x'] // a comment",
    ],
)  # fmt: skip
def test_it_holds(expression: str) -> None:
    assert evaluated(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.missing", "no such key: missing"),
        ("xs[5]", "index out of bounds: 5"),
        ("1 / (xs.size() - 1)", "division by zero"),
        ("9223372036854775807 + xs[0]", "integer overflow"),
        ("self.n + 1", "no such overload"),
        ("self.n.startsWith('a')", "no such overload"),
        ("dyn(1) ? true : false", "no such overload"),
        ("int(s)", 'strconv.ParseInt: parsing "text": invalid syntax'),
        ("optional.none().value()", "optional.none() dereference"),
        ("quantity(s)", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("{'a': 1, s.substring(4) + 'a': 2}", "Failed with repeated key: a"),
        ("xs.slice(1, 0)", "cannot slice(1, 0), start index must be less than or equal to end index"),
        ("xs.slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        ("xs.slice(-1, 2)", "cannot slice(-1, 2), negative indexes not supported"),
        ("[[xs]].flatten(-1)", "level must be non-negative"),
        ("[dyn(1), dyn('a')].sort()", "list elements must have the same type"),
        (
            "'%d'.format([dyn(s)])",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("('%' + s).format([])", "index 0 out of range"),
        ("('%y' + s).format([1])", 'could not parse formatting clause: unrecognized formatting clause "y"'),
        ("semver('v1.0')", "No Major.Minor.Patch elements found"),
        ("semver('1.02.3')", 'Minor number must not contain leading zeroes "02"'),
        ("semver('1.0-a', true)", "short version cannot contain PreRelease/Build meta data"),
        ("quantity('9999999999999999999999999999999999999G').asInteger()", "cannot convert value to integer"),
        (
            "url('https://a:b:c/')",
            'URL parse error during conversion from string: parse "https://a:b:c/": invalid port ":c" after host',
        ),
        ("''.matches(s + '(')", "error parsing regexp: missing closing ): `text(`"),
    ],
)
def test_values_that_do_not_fit_are_errors(expression: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        evaluated(expression, self={"n": [1]}, xs=[1], s="text")
    assert str(failed.value) == message


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("nope + 1", ["undeclared reference to 'nope' (in container '')"]),
        ("nope() || nope2()", [f"undeclared reference to '{name}' (in container '')" for name in ("nope", "nope2")]),
        ("1 + 'a'", ["found no matching overload for '_+_' applied to '(int, string)'"]),
        ("s.startsWith(1)", ["found no matching overload for 'startsWith' applied to 'string.(int)'"]),
        ("s.field", ["type 'string' does not support field selection"]),
        ("s.all(x, true)", ["expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)"]),
        ("xs.all(x, x)", ["found no matching overload for '_&&_' applied to '(bool, int)'"]),
        ("[1, 'a']", ["expected type 'int' but found 'string'"]),
        ("true ? 1 : 'a'", ["found no matching overload for '_?_:_' applied to '(bool, int, string)'"]),
        ("xs.all(x, x > 0) && x", ["undeclared reference to 'x' (in container '')"]),
        ("s.matches('(')", ["invalid matches argument"]),
        ("duration('1x') == duration('1s')", ["invalid duration argument"]),
        ("timestamp(-62135596801)", ["invalid timestamp argument"]),
        ("s.find(')')", ["error parsing regexp: unexpected ): `)`"]),
        ("cel.bind(x, 1, x)", [
            "undeclared reference to 'cel' (in container '')", "undeclared reference to 'x' (in container '')",
            "undeclared reference to 'x' (in container '')", "undeclared reference to 'bind' (in container '')",
        ]),
        ("'%d'.format(['a'])", ["error during formatting: decimal clause can only be used on integers, was given string"]),
        ("'%d'.format([1, 2])", ["too many arguments supplied to string.format (expected 1, got 2)"]),
        ("'%d %d'.format([1])", ["index 1 out of range"]),
        ("'%s'.format([[ip('::1')]])", [
            "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given net.IP",
        ]),
        ("quantity('1').sign()", ["found no matching overload for 'sign' applied to 'kubernetes.Quantity.()'"]),
        ("[1].sortBy(x + 1, x)", ["argument must be a simple name"]),
        ("has(s)", ["invalid argument to has() macro"]),
        ("if", ["reserved identifier: if"]),
        ("'a", ["Syntax error: token recognition error at: ''a'"]),
        ("1 2", ["Syntax error: mismatched input '2' expecting <EOF>"]),
        ("9223372036854775808", ["invalid int literal"]),
    ],
)  # fmt: skip
def test_every_problem_of_an_expression_is_told(expression: str, found: list[str]) -> None:
    assert problems(expression) == found


def test_a_problem_is_shown_where_it_is() -> None:
    with pytest.raises(CompileFailed) as failed:
        ENVIRONMENT.compile("true &&\n  nope")
    assert str(failed.value) == (
        "ERROR: <input>:2:3: undeclared reference to 'nope' (in container '')\n |   nope\n | ..^"
    )


def test_an_expression_of_another_type_than_asked_for_is_refused() -> None:
    assert ENVIRONMENT.compile("self.anything", BOOL).type == DYN
    with pytest.raises(WrongResult, match="must evaluate to bool"):
        ENVIRONMENT.compile("1 + 1", BOOL)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("self.a == 1", 3),
        ("has(self.a)", 1),
        ("xs.all(x, x > 0)", 2 + 3 * (3 + 2)),
        ("xs.exists(x, x > 0)", 2 + 1 * (4 + 2) + 3),
        ("xs.map(x, x)", 1 + 1 + 3 * 13),
        ("xs.filter(x, x > 1)", 1 + 1 + 3 * 2 + 2 * 13),
        ("s.contains('aaaaaaaaaaa')", 1 + 10 * 2),
        ("s.matches('aaaa')", 1 + 11 * 1),
        ("s + s", 2 + 20),
        ("[s, s]", 12),
        ("true || xs.all(x, x > 0)", 0),
        ("[1, 2, 3]", 0),
        ("duration('1h') == duration('60m')", 1),
        ("s in ['a', 'b']", 1),
        ("xs.transformMap(i, x, x)", 1 + 1 + 3 * 4),
        ("xs.exists_one(x, x == 2)", 1 + 2 + 3 * 2 + 2),
        ("self.?b.orValue(1)", 1),
        ("optional.of(1).optMap(v, v == 1).hasValue()", 8),
        ("lists.range(4)", 15),
        ("xs.sort()", 1 + 11 + 18),
        ("xs.distinct()", 1 + 11 + 18),
    ],
)
def test_costs_are_upstreams(expression: str, expected: int) -> None:
    assert cost(expression, self={"a": 1}, xs=[1, 2, 3], s="a" * 100) == expected


def test_a_loop_over_more_than_ten_thousand_turns_is_no_trouble() -> None:
    assert evaluated("xs.all(a, xs.all(b, a + b >= 0))", xs=list(range(300))) is True


def test_a_call_stops_at_its_own_limit_and_at_what_is_left_for_all() -> None:
    program = ENVIRONMENT.compile("xs.all(a, xs.all(b, xs.all(c, a + b + c >= 0)))")
    values = {"xs": list(range(200))}
    budget = Budget(PLENTY)
    with pytest.raises(CostLimitExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate(values, budget)
    assert budget.left == PLENTY - 1_000_000
    with pytest.raises(OutOfBudget):
        program.evaluate(values, Budget(1000))


def test_no_error_absorber_absorbs_the_limit() -> None:
    program = ENVIRONMENT.compile(
        "true || xs.all(a, true) ? xs.exists(a, xs.all(b, xs.all(c, true)) && false) || true : true"
    )
    with pytest.raises(CostLimitExceeded):
        program.evaluate({"xs": list(range(1000))}, Budget(PLENTY))


def test_what_it_may_cost_is_known_before_it_runs_from_bounds() -> None:
    bounded = Environment({"xs": list_of(STRING.bounded(10), 5), "unbounded": list_of(STRING)})
    assert bounded.compile("xs.all(x, x == 'abc')").estimate.most == 2 + 5 * (3 + 1 + 1)
    assert bounded.compile("unbounded.all(x, x == 'abc')").estimate.most == 2**64 - 1


TEXTS = "['012345678901', '012345678901', '012345678901', '012345678901', '012345678901']"
RESOURCE_CHECK = (
    "authorizer.group('apps').resource('deployments').subresource('status').namespace('test').name('backend')"
)


@pytest.mark.parametrize(
    ("expression", "most", "actual"),
    [
        ("[1, 2, 3, 4, 5].sum()", 15, 5),
        ("[uint(1), uint(2), uint(3), uint(4), uint(5)].max()", 20, 5),
        (f"{TEXTS}.isSorted()", 25, 5),
        ("[1.0, 2.0, 3.0, 4.0, 5.0].indexOf(3.0)", 15, 5),
        ("'01234567890123456789012345678901234567890123456789'.indexOf('123')", 5, 5),
        ("url('https:://kubernetes.io/').getHost()", 4, 4),
        ("ip('2001:db8:3333:4444:5555:6666:7777:8888') == ip('192.168.0.1')", 7, 7),
        ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8, 8),
        ("cidr('192.168.0.0/16').containsCIDR(cidr('192.0.0.0/30'))", 11, 7),
        ("cidr('192.168.0.0/16').containsCIDR('192.168.0.0/16')", 11, 7),
        ("cidr('192.168.0.0/16').containsIP(ip('192.0.0.1'))", 7, 4),
        ("cidr('192.168.0.0/16').containsIP('192.169.0.1')", 8, 5),
        ("cidr('2001:db8::/32').containsCIDR('2001:db8::/126')", 11, 7),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 9, 9),
        ("'abc 123 def 123'.replace('123', '456')", 3, 3),
        ("'abc 123 def 123'.split(' ', 1)", 3, 3),
        ("'abc 123 def 123'.substring(5, 8)", 2, 2),
        ("'abc 123 def 123'.find('123')", 2, 2),
        ("'abc 123 def 123'.findAll('1', 1)", 2, 2),
        ("['aa', 'bb', 'cc', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].join()", 12, 3),
        ("quantity('200M') == quantity('0.2G') && quantity('0.2G') == quantity('200M')", 6, 6),
        ("quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger() > 0", 7, 7),
        ("format.named('dns1123Subdomain').value().validate('my-name')", 34, 17),
        ("format.named('dns1123Label').value().validate('my-name')", 34, 10),
        ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 9),
        ("sets.contains([[1], [2, 3]], [[2, 3]])", 53, 3),
        (f"{RESOURCE_CHECK}.check('create').allowed()", 350007, 350007),
        ("authorizer.group('').resource('pods').fieldSelector('spec.nodeName=example-node-name.fully.qualified.domain.name.example.com')", 1821, 1821),
    ],
)  # fmt: skip
def test_what_the_libraries_cost_is_upstreams(expression: str, most: int, actual: int) -> None:
    authorizer = Authorizer(lambda verb, about, account: Decision(True))
    program = Environment({"authorizer": AUTHORIZER_TYPE}).compile(expression)
    budget = Budget(PLENTY)
    program.evaluate({"authorizer": authorizer}, budget)
    assert (program.estimate.most, PLENTY - budget.left) == (most, actual)
