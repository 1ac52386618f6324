"""Schemas that somebody might write to hurt a server, and objects for them. Each: (name, schema of `spec`, a spec)."""

from typing import Any

import msgspec

Case = tuple[str, Any, Any]


def nested(depth: int, leaf: Any = None) -> Any:
    schema: Any = leaf or {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def nested_value(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


def pattern(source: str, text: str) -> tuple[Any, Any]:
    return {"type": "object", "properties": {"p": {"type": "string", "pattern": source}}}, {"p": text}


def rule(text: str, **properties: Any) -> Any:
    return {
        "type": "object",
        "properties": {"l": {"type": "array", "items": {"type": "string"}}, "s": {"type": "string"}, **properties},
        "x-kubernetes-validations": [{"rule": text}],
    }


def any_of(parts: int, depth: int) -> Any:
    """Alternatives of alternatives: parts to the power of depth, were they tried naively one inside the other."""
    schema: Any = {"minLength": 100}
    for _ in range(depth):
        schema = {"anyOf": [schema] * parts}
    return {"type": "string", **schema}


def cases() -> list[Case]:
    many = {f"p{index}": {"type": "string"} for index in range(10_000)}
    long_text = "a" * 30_000
    ref = {"type": "object", "properties": {"a": {"$ref": "#/properties/spec"}}}
    found: list[Case] = [
        (f"pattern {index}", *pattern(source, text))
        for index, (source, text) in enumerate((
            ("^(a+)+$", long_text + "!"), ("(a*)*b", long_text), ("(a|aa)+$", long_text + "!"), ("(.*)*x", long_text),
            ("^(([a-z])+.)+[A-Z]([a-z])+$", long_text), ("(x+x+)+y", "x" * 30_000), ("a{0,1000}" * 20, long_text),
            ("(a{1000}){1000}", long_text), ("(" * 5_000 + "a" + ")" * 5_000, "a"), ("[", "a"), ("(?<=a)b", "ab"),
            ("(a)\\1", "aa"), ("(?P<n>a)(?P=n)", "aa"), ("a" * 100_000, "a"), ("(" + "a|" * 20_000 + "b)", "c"),
            ("\\pN{1001}", "1"), ("(.{1,1000}){1,1000}", long_text),
        ))
    ]  # fmt: skip
    found += [
        ("depth 40", nested(40), nested_value(40)),
        ("depth 90", nested(90), nested_value(90)),
        ("depth 300", nested(300), nested_value(3)),
        ("10,000 properties", {"type": "object", "properties": many}, dict.fromkeys(many, "x")),
        ("10,000 defaults", {"type": "object", "properties": {k: {**v, "default": "y"} for k, v in many.items()}}, {}),
        ("10,000 required", {"type": "object", "properties": many, "required": list(many)}, {}),
        ("enum of 50,000", {"type": "string", "enum": [f"v{index}" for index in range(50_000)]}, "v49999"),
        ("enum of objects", {"type": "object", "x-kubernetes-preserve-unknown-fields": True,
                             "enum": [{"a": [index] * 50} for index in range(3_000)]}, {"a": [2_999] * 50}),
        ("default of 1 MB", {"type": "object", "properties": {"a": {"type": "string", "default": "x" * 1_000_000}}}, {}),
        ("default of 1 MB twice", {"type": "object", "properties": {
            k: {"type": "string", "default": "x" * 1_000_000} for k in "ab"}}, {}),
        ("defaults that multiply", {"type": "array", "items": {"type": "object", "properties": {
            "a": {"type": "string", "default": "x" * 100_000}}}}, [{}] * 1_000),
        ("recursive $ref", ref, {"a": {}}),
        ("$ref to a file", {"$ref": "file:///etc/passwd", "type": "object"}, {}),
        ("$ref to the net", {"$ref": "http://169.254.169.254/latest", "type": "object"}, {}),
        ("alternatives of alternatives", any_of(10, 5), "x"),
        ("deep alternatives", any_of(2, 14), "x"),
        ("oneOf of 10,000", {"type": "string", "oneOf": [{"minLength": index} for index in range(10_000)]}, "x" * 100),
        ("not not not", {"type": "string", "not": {"not": {"not": {"minLength": 1}}}}, "x"),
        ("long names", {"type": "object", "properties": {"n" * 100_000: {"type": "string"}}}, {"n" * 100_000: "x"}),
        ("names of other things", {"type": "object", "properties": {
            name: {"type": "string"} for name in ("__proto__", "constructor", "", "a.b", "a/b", "[0]", "\u0000", "é" * 99)}},
         {"__proto__": "x", "": "y"}),
        ("huge bounds", {"type": "string", "maxLength": 2**62, "minLength": -(2**62)}, "x"),
        ("NaN-like numbers", {"type": "number", "multipleOf": 5e-324, "maximum": 1.7e308}, 1e308),
        ("a list of 100,000 as a set", {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
         list(range(100_000))),
        ("a set of equal objects", {"type": "array", "x-kubernetes-list-type": "set", "items": {
            "type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "integer"}}}},
         [{"a": 1}] * 50_000),
        ("keys of 100,000", {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"], "items": {
            "type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}},
         [{"a": index} for index in range(100_000)]),
        ("rule: loops in loops", rule("self.l.all(a, self.l.all(b, self.l.all(c, a != b + c)))"), {"l": ["x"] * 100}),
        ("rule: a pattern", rule("self.s.matches('^(a+)+$')"), {"s": long_text}),
        ("rule: text that doubles", rule("[1,2,3,4,5,6,7,8].map(i, self.s + self.s).size() > 0"), {"s": long_text}),
        ("rule: deep", rule("(" * 3_000 + "true" + ")" * 3_000), {}),
        ("rule: long", rule("true" + " && true" * 50_000), {}),
        ("rule: joined", rule("self.l.join('x').size() < self.l.map(a, a + a).join('y').size() + 1"), {"l": ["x"] * 9_999}),
        ("1,000 rules", {"type": "object", "properties": {"s": {"type": "string", "maxLength": 10}},
                         "x-kubernetes-validations": [{"rule": f"self.s != '{index}'"} for index in range(1_000)]},
         {"s": "x"}),
        ("preserve and depth", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, nested_value(150)),
        ("preserve and too much depth", {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
         msgspec.Raw(b'{"a":' * 1_000 + b"1" + b"}" * 1_000)),
    ]  # fmt: skip
    return found + multiplied()


def listed(items: Any, **more: Any) -> Any:
    return {"type": "array", "items": items, **more}


def multiplied() -> list[Case]:
    """What a schema asks of a part, times as many parts as a body holds."""
    names = [f"p{index}" for index in range(5_000)]
    many: Any = {name: {"type": "string", "default": "y"} for name in names}
    tree: Any = {"anyOf": [{"not": {"oneOf": [{"minimum": a}, {"maximum": b}]}} for a in range(20) for b in range(20)]}
    defaults: Any = {"type": "object", "properties": {"z": {"type": "string"}}}
    for _ in range(6):
        default: Any = [{}] * 60 if defaults["type"] == "array" else {}
        defaults = listed({"type": "object", "properties": {"x": {**defaults, "default": default}}})
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    key: Any = {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}
    return [
        ("required of a list", listed({"type": "object", "required": names}), [{}] * 20_000),
        ("numbers of a list", listed({"type": "integer", "enum": list(range(5_000))}), [4_999] * 20_000),
        ("objects of a list", listed({"type": "object", "x-kubernetes-preserve-unknown-fields": True,
                                      "enum": [{"a": [index] * 20} for index in range(1_000)]}), [{"a": [999] * 20}] * 5_000),
        ("alternatives of a list", listed({"type": "integer", "anyOf": [{"minimum": 9 + i} for i in range(1_000)]}),
         [1] * 20_000),
        ("trees of a list", listed({"type": "integer", "not": tree}), [1] * 20_000),
        ("patterns of a list", listed({"type": "string", "allOf": [{"pattern": f"(a|b|{i})*x$"} for i in range(300)]}),
         ["ab" * 500] * 1_000),
        ("defaults of a list", listed({"type": "object", "properties": many}), [{}] * 20_000),
        ("fields of a list", listed({"type": "object", "properties": {name: {"type": "string"} for name in names[:1_900]}}),
         [{}] * 150_000),
        ("objects in objects of a list", listed({"type": "object", "properties": dict.fromkeys(names, key)}), [{}] * 20_000),
        ("lists of defaults of lists", defaults, [{}] * 60),
        ("500,000 numbers that are wrong", listed({"type": "integer", "minimum": 5}), [1] * 500_000),
        ("what is wrong below a long key", {"type": "object", "additionalProperties": listed({"type": "integer"})},
         {"k" * 500_000: ["x"] * 50_000}),
        ("long keys of 10,000", listed(key, **keyed), [{"k": "x" * 120 + str(index)} for index in range(10_000)]),
        ("a duration without end", {"type": "string", "format": "duration"}, "1" * 700_000),
        ("addresses in addresses", {"type": "string", "format": "email"}, "(" * 1_000),
        ("numbers with exponents", listed({"type": "number", "multipleOf": 0.1}), [1e300] * 100_000),
    ]  # fmt: skip
