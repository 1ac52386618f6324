"""What this process may do: as root of the machine itself, or of a user namespace only.

Root of a user namespace has every capability over what belongs to that namespace, and none over the machine: it makes
no device nodes, mounts with `user` attributes instead of `trusted` ones, and writes the cgroups that it was given.
"""

import os

from kybern.linux import capabilities

_FIRST = 0xEFFFFFFD  # the inode of the machine's own user namespace (proc_ns.h)


def in_first_user_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/user").st_ino == _FIRST
    except OSError:
        return True  # a kernel without them


def may_administer() -> bool:
    """Mounts, networks, namespaces: where it may not, a user namespace of its own may help."""
    return "SYS_ADMIN" in capabilities.effective() and "NET_ADMIN" in capabilities.effective()


def may_map_ids() -> bool:
    return {"SETUID", "SETGID"} <= capabilities.effective()
