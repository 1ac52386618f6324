"""What one of our tables holds, as a value, and the commands that lead from one such value to the next.

    text = transaction("ip", "kybern-x", old, new)      # for `nft -f -`: all of it holds, or nothing changed

Whole states are compared, so a change costs what it changes. Order: what is pointed at outlives what points.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What is in a table besides its fixed frame."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Chain → rules."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """Set that is not part of the frame → declaration."""
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Set or map → key → verdict or value, or "" in a set."""


def transaction(family: str, table: str, old: Ruleset, new: Ruleset) -> str:
    """The commands that turn `old` into `new`; empty when they are equal."""
    where = f"{family} {table}"
    lines = list(element_changes("delete", where, old, new))
    lines += [f"add set {where} {name} {{ {kind} }}" for name, kind in new.sets.items() if name not in old.sets]
    lines += [f"add chain {where} {name}" for name in new.chains if name not in old.chains]
    lines += list(rule_lines(where, old.chains, new.chains))
    lines += list(element_changes("add", where, old, new))
    gone_chains = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain {where} {name}" for name in gone_chains]
    lines += [f"delete chain {where} {name}" for name in gone_chains]
    lines += [f"delete set {where} {name}" for name in old.sets if name not in new.sets]
    return "\n".join(lines) + "\n" if lines else ""


def element_changes(verb: str, where: str, old: Ruleset, new: Ruleset) -> Iterator[str]:
    """Elements that go, without their values; elements that come, with them. A changed value is both."""
    first, second = (old, new) if verb == "delete" else (new, old)
    for name, elements in first.elements.items():
        others = second.elements.get(name, {})
        if elements is others or (verb == "delete" and name in old.sets and name not in new.sets):
            continue  # a set that goes takes its elements along
        listed = [
            f"{key} : {value}" if value and verb == "add" else key
            for key, value in elements.items()
            if others.get(key) != value
        ]
        if listed:
            yield f"{verb} element {where} {name} {{ {', '.join(listed)} }}"


def rule_lines(where: str, old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, rules in new.items():
        if old.get(name) == rules:
            continue
        if name in old:
            yield f"flush chain {where} {name}"
        for rule in rules:
            yield f"add rule {where} {name} {rule}"
