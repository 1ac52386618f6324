"""Types from structural schemas: what expressions may ask of a custom resource, by which name, and how large it can be."""

import pytest

from kybern.cel import BOOL, Budget, CompileFailed, Environment
from kybern.cel.schema import escaped, typed_by

SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer"},
                "ratio": {"type": "number"},
                "port": {"x-kubernetes-int-or-string": True},
                "names": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 5}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "started": {"type": "string", "format": "date-time"},
                "every": {"type": "string", "format": "duration"},
                "secret": {"type": "string", "format": "byte"},
                "namespace": {"type": "string"},
                "some-field": {"type": "string"},
                "free": {"x-kubernetes-preserve-unknown-fields": True},
            },
        }
    },
}


def holds(rule: str, spec: dict[str, object]) -> bool:
    typed = typed_by(SCHEMA, root=True)
    assert typed is not None
    program = Environment({"self": typed.type}).compile(rule, BOOL)
    return bool(program.evaluate({"self": typed.value({"metadata": {"name": "x"}, "spec": spec})}, Budget(1_000_000)))


@pytest.mark.parametrize(
    "rule",
    [
        "self.spec.replicas + 1 == 3 && self.metadata.name == 'x'",
        "self.spec.ratio == 2.0 && self.spec.ratio / 4.0 == 0.5",
        "type(self.spec.port) == int ? self.spec.port < 5 : self.spec.port == 'http'",
        "self.spec.started.getFullYear() == 2024 && self.spec.every > duration('59m')",
        "self.spec.secret == b'hi'",
        "self.spec.some__dash__field == 'a' && self.spec.__namespace__ == 'b'",
        "self.spec.labels.all(k, self.spec.labels[k] != '') && has(self.spec.names) && !has(self.spec.labels.x)",
    ],
)
def test_a_custom_resource_is_seen_by_its_schema(rule: str) -> None:
    spec: dict[str, object] = {
        "replicas": 2,
        "ratio": 2,
        "port": "http",
        "started": "2024-05-01T00:00:00Z",
        "every": "1h",
        "secret": "aGk=",
        "some-field": "a",
        "namespace": "b",
        "labels": {"a": "1"},
        "names": ["n"],
    }
    assert holds(rule, spec)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("self.spec.nope == 1", "undefined field 'nope'"),
        ("self.spec.free == 1", "undefined field 'free'"),
        ("self.spec.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.metadata.labels == 1", "undefined field 'labels'"),
    ],
)
def test_what_the_schema_does_not_have_is_refused_when_written(rule: str, message: str) -> None:
    with pytest.raises(CompileFailed) as failed:
        holds(rule, {})
    assert [problem.message for problem in failed.value.problems] == [message]


def test_bounds_in_the_schema_bound_the_cost() -> None:
    typed = typed_by(SCHEMA, root=True)
    assert typed is not None
    environment = Environment({"self": typed.type})
    bounded = environment.compile("self.spec.names.all(n, n == 'abcdefghij')").estimate.most
    assert bounded == 4 + 3 * (3 + 1 + 1)
    assert environment.compile("self.spec.labels.all(k, k != '')").estimate.most > 1_000_000


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("if", "__if__"),
        ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
        ("a__b", "a__underscores__b"),
        ("9x", None),
        ("ok", "ok"),
    ],
)
def test_names_that_expressions_cannot_write_are_escaped(name: str, written: str | None) -> None:
    assert escaped(name) == written


MAP = {
    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"],
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}, "value": {"type": "string"}},
    },
}  # fmt: skip
KEYED = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "string"}},
        "map": MAP,
    },
}


def item(name: str, value: str = "", port: int = 1) -> dict[str, object]:
    return {"name": name, "port": port, "value": value}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("self.set == oldSelf.set", True),
        ("self.list == oldSelf.list", False),
        ("self.set == ['b', 'a', 'c']", True),
        ("self.set == ['a', 'b', 'd']", False),
        ("self.set == ['a', 'b']", False),
        ("['b', 'a', 'c'] == self.set", False),
        ("(self.set + ['d', 'a']) == ['d', 'c', 'b', 'a']", True),
        ("(self.set + ['d', 'a']).size() == 4 && (self.list + ['a']).size() == 4", True),
        ("self.set[0] == 'a' && 'c' in self.set && self.set.all(x, x != 'z')", True),
        ("self.map == oldSelf.map", True),
        ("self.map == [oldSelf.map[0]]", False),
        ("(self.map + oldSelf.map).size() == 2", True),
        ("(self.map + other.map).map(x, x.value) == ['new', 'y', 'x']", True),
        ("self == oldSelf", False),
        ("self.map.filter(x, x.name == 'a') == oldSelf.map.filter(x, x.name == 'a')", True),
    ],
)
def test_lists_that_are_sets_or_maps_are_equal_whatever_their_order(rule: str, expected: bool) -> None:
    typed = typed_by(KEYED)
    assert typed is not None
    program = Environment({"self": typed.type, "oldSelf": typed.type, "other": typed.type}).compile(rule, BOOL)
    more = [item("a", "new"), item("a", "x", 2)]
    new = {"set": ["a", "b", "c"], "list": ["a", "b", "c"], "map": [item("a", "x"), item("b", "y")]}
    old = {"set": ["c", "b", "a"], "list": ["c", "b", "a"], "map": [item("b", "y"), item("a", "x")]}
    values = {"self": typed.value(new), "oldSelf": typed.value(old), "other": typed.value({"map": more})}
    assert program.evaluate(values, Budget(1_000_000)) is expected
