"""Seccomp filters from profiles in OCI's JSON (`linux.seccomp` of a runtime spec), assembled here.

A program first looks at the architecture of the call, then walks the call numbers in ascending ranges of equal
action. Calls by the x32 numbers and from other architectures than the machine's own get the default action.
"""

import ctypes
import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kybern.linux import bpf
from kybern.linux.syscall_numbers import numbers
from kybern.linux.syscalls import MACHINE, call

Profile = Mapping[str, Any]

ARCHITECTURE_TOKENS = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7}
FAMILIES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64",)}
X32_BIT = 0x40000000
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

_SET_MODE_FILTER = 1


class InvalidProfile(ValueError):
    """The profile says something that cannot be carried out; it must never be left out silently."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load(program: bytes) -> None:
    """Put the filter on this process and everything it will run."""
    call("seccomp", _SET_MODE_FILTER, 0, _Program(len(program) // 8, program), about="seccomp")


def compile_profile(profile: Profile, machine: str = MACHINE) -> bytes:
    default = action_of(profile.get("defaultAction", ""), profile.get("defaultErrnoRet"))
    program: list[bpf.Instruction] = [bpf.load(ARCHITECTURE_OFFSET)]
    for architecture in FAMILIES[machine]:
        body = _architecture(profile.get("syscalls") or (), architecture, default)
        program += bpf.when(bpf.EQUAL, ARCHITECTURE_TOKENS[architecture], body)
    program.append(bpf.give(default))
    return bpf.assemble(program)


def action_of(name: str, number: int | None) -> int:
    if name not in ACTIONS:
        raise InvalidProfile(f"unknown seccomp action {name!r}")
    if name not in WITH_ERRNO:
        return ACTIONS[name]
    return ACTIONS[name] | (errno.EPERM if number is None else number & 0xFFFF)


def _architecture(rules: Sequence[Profile], architecture: str, default: int) -> list[bpf.Instruction]:
    table = numbers(architecture)
    blocks: dict[int, list[bpf.Instruction]] = {}
    plain: dict[int, int] = {}
    for rule in rules:
        action = action_of(rule["action"], rule.get("errnoRet"))
        for name in rule["names"]:
            number = table.get(name)
            if number is None:
                continue
            if rule.get("args"):
                blocks.setdefault(number, []).extend(_arguments(rule["args"], action))
            else:
                plain.setdefault(number, action)
    body = [bpf.load(NUMBER_OFFSET)]
    if architecture == "x86_64":
        body += bpf.when(bpf.AT_LEAST, X32_BIT, [bpf.give(default)])
    for number, block in blocks.items():
        fallback = bpf.give(plain.pop(number, default))
        body += bpf.when(bpf.EQUAL, number, [*block, fallback])
    for last, action in ranges(plain, default):
        body += bpf.unless(bpf.GREATER, last, [bpf.give(action)])
    return [*body, bpf.give(default)]


def ranges(plain: Mapping[int, int], default: int) -> list[tuple[int, int]]:
    """(last number, action) of each run of equal actions, ascending; what follows the last has the default."""
    found: list[tuple[int, int]] = []
    for number in range(max(plain, default=-1) + 1):
        action = plain.get(number, default)
        if found and found[-1][1] == action:
            found[-1] = (number, action)
        else:
            found.append((number, action))
    return found


def _arguments(conditions: Sequence[Profile], action: int) -> list[bpf.Instruction]:
    """`action` where all conditions on the call's arguments hold; each compares 64 bits as two words."""
    block = [bpf.give(action)]
    for condition in reversed(conditions):
        compare = COMPARISONS.get(condition["op"])
        if compare is None:
            raise InvalidProfile(f"unknown seccomp comparison {condition['op']!r}")
        index = condition["index"]
        if not 0 <= index <= 5:
            raise InvalidProfile(f"a system call has no argument {index}")
        value, other = condition["value"], condition.get("valueTwo") or 0
        block = compare(ARGUMENTS_OFFSET + 8 * index, value, other, block)
    return block


def _words(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF


def _equal(offset: int, value: int, _: int, block: list[bpf.Instruction]) -> list[bpf.Instruction]:
    low, high = _words(value)
    inner = [bpf.load(offset), *bpf.when(bpf.EQUAL, low, block)]
    return [bpf.load(offset + 4), *bpf.when(bpf.EQUAL, high, inner)]


def _not_equal(offset: int, value: int, _: int, block: list[bpf.Instruction]) -> list[bpf.Instruction]:
    low, high = _words(value)
    same_low = [bpf.load(offset), *bpf.unless(bpf.EQUAL, low, block)]
    other_high = [bpf.load(offset + 4), *bpf.unless(bpf.EQUAL, high, block)]
    return other_high + same_low


def _masked_equal(offset: int, kept: int, value: int, block: list[bpf.Instruction]) -> list[bpf.Instruction]:
    (mask_low, mask_high), (low, high) = _words(kept), _words(value)
    inner = [bpf.load(offset), bpf.mask(mask_low), *bpf.when(bpf.EQUAL, low, block)]
    return [bpf.load(offset + 4), bpf.mask(mask_high), *bpf.when(bpf.EQUAL, high, inner)]


def _beyond(
    low_comparison: int, *, above: bool
) -> Callable[[int, int, int, list[bpf.Instruction]], list[bpf.Instruction]]:
    """Greater or less: the high words decide, and where they are equal the low words."""

    def compare(offset: int, value: int, _: int, block: list[bpf.Instruction]) -> list[bpf.Instruction]:
        low, high = _words(value)
        guard = bpf.when if above else bpf.unless
        by_low = [bpf.load(offset), *guard(low_comparison, low, block)]
        same_high = [bpf.load(offset + 4), *bpf.when(bpf.EQUAL, high, by_low)]
        by_high = [bpf.load(offset + 4), *guard(bpf.GREATER if above else bpf.AT_LEAST, high, block)]
        return by_high + same_high

    return compare


COMPARISONS: Mapping[str, Callable[[int, int, int, list[bpf.Instruction]], list[bpf.Instruction]]] = {
    "SCMP_CMP_EQ": _equal,
    "SCMP_CMP_NE": _not_equal,
    "SCMP_CMP_MASKED_EQ": _masked_equal,
    "SCMP_CMP_GT": _beyond(bpf.GREATER, above=True),
    "SCMP_CMP_GE": _beyond(bpf.AT_LEAST, above=True),
    "SCMP_CMP_LT": _beyond(bpf.AT_LEAST, above=False),
    "SCMP_CMP_LE": _beyond(bpf.GREATER, above=False),
}
