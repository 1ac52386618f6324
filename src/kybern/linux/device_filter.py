"""A device allow-list for cgroups v2: a small eBPF program that the kernel asks at every open and mknod.

It is given the kind and access of the attempt and the device's numbers, and returns 1 where a rule allows it.
"""

import ctypes
import os
import struct
from collections.abc import Sequence

from kybern.linux.cgroups import DeviceRule
from kybern.linux.syscalls import call

_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
KINDS = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}

R0, R1, R2, R3, R4, R5, R6 = range(7)
LOAD_WORD, MOVE, MOVE_VALUE, AND_VALUE, SHIFT_RIGHT = 0x61, 0xBF, 0xB7, 0x57, 0x77
JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER, EXIT = 0x55, 0x5D, 0x95


class _LoadAttributes(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 72),
    )


class _AttachAttributes(ctypes.Structure):
    _fields_ = (
        ("target", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 104),
    )


def attach(directory: str, rules: Sequence[DeviceRule]) -> None:
    """The program lives as long as the group."""
    program = load(assemble(rules))
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attributes = _AttachAttributes(group, program, _ATTACH_CGROUP_DEVICE, 0)
        call("bpf", _PROG_ATTACH, attributes, ctypes.sizeof(attributes), about=f"device filter of {directory}")
    finally:
        os.close(group)
        os.close(program)


def load(instructions: bytes) -> int:
    text, words = ctypes.create_string_buffer(b"Apache-2.0"), ctypes.create_string_buffer(instructions)
    attributes = _LoadAttributes(
        _TYPE_CGROUP_DEVICE, len(instructions) // 8, ctypes.addressof(words), ctypes.addressof(text)
    )
    return call("bpf", _PROG_LOAD, attributes, ctypes.sizeof(attributes), about="device filter")


def assemble(rules: Sequence[DeviceRule]) -> bytes:
    program = [
        _code(LOAD_WORD, R2, R1, 0),
        _code(MOVE, R3, R2),
        _code(AND_VALUE, R2, value=0xFFFF),  # the kind
        _code(SHIFT_RIGHT, R3, value=16),  # the access
        _code(LOAD_WORD, R4, R1, 4),  # major
        _code(LOAD_WORD, R5, R1, 8),  # minor
    ]
    for rule in rules:
        program += _rule(rule)
    program += [_code(MOVE_VALUE, R0, value=0), _code(EXIT)]
    return b"".join(program)


def _rule(rule: DeviceRule) -> list[bytes]:
    """Tests that jump to the next rule, then the answer."""
    tests: list[tuple[int, int, int, int]] = []  # code, register, other register, value
    prelude: list[bytes] = []
    if rule.kind in KINDS:
        tests.append((JUMP_NOT_EQUAL, R2, 0, KINDS[rule.kind]))
    allowed = sum(ACCESS[letter] for letter in set(rule.access))
    if allowed != 7:
        prelude = [_code(MOVE, R6, R3), _code(AND_VALUE, R6, value=allowed)]
        tests.append((JUMP_NOT_EQUAL_REGISTER, R6, R3, 0))
    if rule.major >= 0:
        tests.append((JUMP_NOT_EQUAL, R4, 0, rule.major))
    if rule.minor >= 0:
        tests.append((JUMP_NOT_EQUAL, R5, 0, rule.minor))
    body = [
        _code(code, register, other, len(tests) - position + 1, value)
        for position, (code, register, other, value) in enumerate(tests)
    ]
    return [*prelude, *body, _code(MOVE_VALUE, R0, value=1), _code(EXIT)]


def _code(operation: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", operation, source << 4 | target, offset, value)
