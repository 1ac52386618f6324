"""Capabilities of the calling process (capabilities(7)), by name."""

import ctypes
from collections.abc import Iterable

from kybern.linux.syscalls import call

_IN_ORDER = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES = _IN_ORDER.split()
NUMBER = {name: number for number, name in enumerate(NAMES)}

_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = tuple((f"{kind}{word}", ctypes.c_uint32) for word in (0, 1) for kind in ("e", "p", "i"))


def bounding() -> set[str]:
    """What this process and its children may ever have."""
    return {name for name, number in NUMBER.items() if _in_bounding(number)}


def _in_bounding(number: int) -> bool:
    try:
        return call("prctl", _PR_CAPBSET_READ, number, 0, 0, 0) == 1
    except OSError:  # EINVAL: a kernel that does not know this one
        return False


def limit_bounding(kept: Iterable[str]) -> None:
    """Give up all others, for good."""
    wanted = set(kept)
    for name in bounding() - wanted:
        call("prctl", _PR_CAPBSET_DROP, NUMBER[name], 0, 0, 0, about=f"drop CAP_{name}")


def set_effective(names: Iterable[str]) -> None:
    """Effective and permitted are exactly these, as far as they are held; inheritable and ambient are empty."""
    call("prctl", _PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0, about="clear ambient capabilities")
    wanted = sum(1 << NUMBER[name] for name in names) & _permitted()
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    call("capset", _Header(_VERSION_3, 0), _Sets(low, low, 0, high, high, 0), about="capset")


def use_all() -> None:
    """Everything that is permitted becomes effective again."""
    held = _permitted()
    low, high = held & 0xFFFFFFFF, held >> 32
    call("capset", _Header(_VERSION_3, 0), _Sets(low, low, 0, high, high, 0), about="capset")


def effective() -> set[str]:
    """What this process may do now."""
    sets = _Sets()
    call("capget", _Header(_VERSION_3, 0), sets)
    held = int(sets.e0) | int(sets.e1) << 32
    return {name for name, number in NUMBER.items() if held >> number & 1}


def _permitted() -> int:
    sets = _Sets()
    call("capget", _Header(_VERSION_3, 0), sets)
    return int(sets.p0) | int(sets.p1) << 32
