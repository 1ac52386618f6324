"""System calls by number, for what Python's standard library has no function for.

`call("openat2", ...)` returns the kernel's result or raises OSError with the kernel's reason. Numbers differ per
machine only for calls older than 2019; later ones are the same everywhere.
"""

import ctypes
import os
import platform

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

COMMON = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
X86_64 = {
    "setfsuid": 122,
    "setfsgid": 123,
    "capget": 125,
    "capset": 126,
    "pivot_root": 155,
    "prctl": 157,
    "mount": 165,
    "umount2": 166,
    "sethostname": 170,
    "keyctl": 250,
    "inotify_add_watch": 254,
    "inotify_rm_watch": 255,
    "unshare": 272,
    "inotify_init1": 294,
    "setns": 308,
    "seccomp": 317,
    "bpf": 321,
    "execveat": 322,
}
AARCH64 = {
    "inotify_init1": 26,
    "inotify_add_watch": 27,
    "inotify_rm_watch": 28,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "capget": 90,
    "capset": 91,
    "unshare": 97,
    "sethostname": 161,
    "setfsuid": 151,
    "setfsgid": 152,
    "prctl": 167,
    "keyctl": 219,
    "setns": 268,
    "seccomp": 277,
    "bpf": 280,
    "execveat": 281,
}
MACHINE = platform.machine()
NUMBERS = COMMON | (AARCH64 if MACHINE == "aarch64" else X86_64)

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

Argument = int | bytes | str | None | ctypes.Structure | ctypes.Array[ctypes.c_char]


def call(name: str, *arguments: Argument, about: str = "") -> int:
    """The kernel's result; OSError naming `about` when it refuses."""
    result = int(_syscall(ctypes.c_long(NUMBERS[name]), *map(_native, arguments)))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about or name)
    return result


def _native(argument: Argument) -> object:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, str):
        return ctypes.c_char_p(os.fsencode(argument))
    if isinstance(argument, bytes):
        return ctypes.c_char_p(argument)
    return ctypes.byref(argument)
