"""Seccomp programs, run by a small interpreter of the same instructions."""

import struct

import pytest

from kybern.linux import bpf, seccomp
from kybern.linux.seccomp_default import default_profile
from kybern.linux.syscall_numbers import numbers

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def verdict(program: bytes, architecture: str, number: int, *arguments: int) -> int:
    """What the kernel would answer to a call."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    token = seccomp.ARCHITECTURE_TOKENS[architecture]
    data = struct.pack("=IIQ6Q", number, token, 0, *(value & (1 << 64) - 1 for value in padded))
    position, register = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, position * 8)
        position += 1
        match code:
            case bpf.LOAD:
                [register] = struct.unpack_from("=I", data, value)
            case bpf.AND:
                register &= value
            case bpf.JUMP:
                position += value
            case bpf.EQUAL:
                position += yes if register == value else no
            case bpf.GREATER:
                position += yes if register > value else no
            case bpf.AT_LEAST:
                position += yes if register >= value else no
            case bpf.RETURN:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.fixture(scope="module")
def default() -> bytes:
    return seccomp.compile_profile(default_profile([]), "x86_64")


@pytest.mark.parametrize("architecture", ["x86_64", "i386"])
def test_ordinary_calls_are_allowed_and_dangerous_ones_refused(default: bytes, architecture: str) -> None:
    table = numbers(architecture)
    for name in ("read", "write", "openat", "execve", "fork", "clock_gettime", "setuid", "ptrace", "prctl"):
        assert verdict(default, architecture, table[name]) == ALLOW, name
    refused = "mount umount2 unshare setns bpf keyctl add_key userfaultfd io_uring_setup kexec_load init_module reboot "
    refused += "open_by_handle_at pivot_root perf_event_open swapon move_mount fsopen open_tree mount_setattr"
    for name in refused.split():
        assert verdict(default, architecture, table[name]) == EPERM, name
    assert verdict(default, architecture, table["clone3"]) == ENOSYS


def test_a_clone_may_make_no_namespace(default: bytes) -> None:
    clone = numbers("x86_64")["clone"]
    assert verdict(default, "x86_64", clone, 0x11) == ALLOW
    for flag in (0x00020000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(default, "x86_64", clone, 0x11 | flag) == EPERM


def test_some_socket_families_are_refused(default: bytes) -> None:
    socket = numbers("x86_64")["socket"]
    assert [verdict(default, "x86_64", socket, family) for family in (1, 2, 10, 16)] == [ALLOW] * 4
    assert [verdict(default, "x86_64", socket, family) for family in (38, 40)] == [EPERM] * 2


def test_calls_by_other_numbers_are_refused(default: bytes) -> None:
    assert verdict(default, "x86_64", seccomp.X32_BIT | 0) == EPERM
    assert verdict(default, "aarch64", 63) == EPERM


def test_a_capability_brings_its_calls() -> None:
    program = seccomp.compile_profile(default_profile(["SYS_ADMIN"]), "x86_64")
    table = numbers("x86_64")
    assert verdict(program, "x86_64", table["mount"]) == ALLOW
    assert verdict(program, "x86_64", table["clone"], 0x10000011) == ALLOW


BIG = 1 << 33 | 5


@pytest.mark.parametrize(
    ("comparison", "value", "other", "holds", "fails"),
    [
        ("EQ", BIG, 0, [BIG], [5, 1 << 33, BIG + 1]),
        ("NE", BIG, 0, [5, 1 << 33, BIG + 1], [BIG]),
        ("GT", BIG, 0, [BIG + 1, 1 << 34], [BIG, 6, 1 << 33]),
        ("GE", BIG, 0, [BIG, BIG + 1, 1 << 34], [BIG - 1, 6]),
        ("LT", BIG, 0, [BIG - 1, 6, 1 << 33], [BIG, 1 << 34]),
        ("LE", BIG, 0, [BIG, 6, 1 << 33], [BIG + 1, 1 << 34]),
        ("MASKED_EQ", 0xF0, 0x30, [0x30, 0x3F, 0x130], [0x40, 0]),
    ],
)
def test_comparisons_see_all_64_bits(
    comparison: str, value: int, other: int, holds: list[int], fails: list[int]
) -> None:
    argument = {"index": 1, "value": value, "valueTwo": other, "op": f"SCMP_CMP_{comparison}"}
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [argument]}
    program = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, "x86_64")
    assert {verdict(program, "x86_64", 0, 0, each) for each in holds} == {ENOSYS}
    assert {verdict(program, "x86_64", 0, 0, each) for each in fails} == {ALLOW}


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"defaultAction": "SCMP_ACT_NONSENSE"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "maybe"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}
        ]},
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(profile: dict[str, object]) -> None:
    with pytest.raises(seccomp.InvalidProfile):
        seccomp.compile_profile(profile, "x86_64")


def test_far_jumps_reach_over_long_blocks() -> None:
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": n, "op": "SCMP_CMP_EQ"}]}
        for n in range(200)
    ]
    program = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}, "x86_64")
    assert verdict(program, "x86_64", 0, 199) == EPERM
    assert verdict(program, "x86_64", 0, 200) == ALLOW
    assert verdict(program, "x86_64", 1, 0) == ALLOW
