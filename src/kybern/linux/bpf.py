"""Classic BPF, as far as seccomp and filters of frames need it: load, compare, jump forward, return."""

import struct

LOAD, AND, JUMP, EQUAL, GREATER, AT_LEAST, SET, RETURN = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
LOAD_HALF, LOAD_LENGTH = 0x28, 0x80
JUMP_MAX = 255
INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def load_half(offset: int) -> Instruction:
    """Two bytes."""
    return (LOAD_HALF, 0, 0, offset)


def load_length() -> Instruction:
    """Of the whole frame."""
    return (LOAD_LENGTH, 0, 0, 0)


def mask(value: int) -> Instruction:
    return (AND, 0, 0, value & 0xFFFFFFFF)


def give(action: int) -> Instruction:
    return (RETURN, 0, 0, action)


def unless(comparison: int, value: int, block: list[Instruction]) -> list[Instruction]:
    """Run `block` only where the comparison fails."""
    return _guarded(comparison, value, block, run_when=False)


def when(comparison: int, value: int, block: list[Instruction]) -> list[Instruction]:
    """Run `block` only where the comparison holds."""
    return _guarded(comparison, value, block, run_when=True)


def _guarded(comparison: int, value: int, block: list[Instruction], *, run_when: bool) -> list[Instruction]:
    value &= 0xFFFFFFFF
    if len(block) <= JUMP_MAX:
        skip = (0, len(block)) if run_when else (len(block), 0)
        return [(comparison, *skip, value), *block]
    # A conditional jump reaches 255 instructions, an unconditional one everything.
    skip = (1, 0) if run_when else (0, 1)
    return [(comparison, *skip, value), (JUMP, 0, 0, len(block)), *block]


def assemble(program: list[Instruction]) -> bytes:
    if len(program) > INSTRUCTIONS_MAX:
        raise ValueError(f"seccomp filter has {len(program)} instructions, more than {INSTRUCTIONS_MAX}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
