"""Whether the tests run in a chroot, where the kernel makes no user namespaces and setns(2) leads to the machine's root."""

import subprocess
from functools import cache

import pytest


@cache
def in_a_chroot() -> bool:
    """user_namespaces(7): a process in a chroot may not make one, so root's attempt tells."""
    return subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode != 0


needs_user_namespaces = pytest.mark.skipif(in_a_chroot(), reason="there are no user namespaces in a chroot")
