"""Which ids of this machine a pod with `hostUsers: false` has as its own: 65,536 of them, shared with nobody.

The choice lies with the pod's files, so it outlives this process and goes with the pod.
"""

import os

from kybern.api.core_v1 import Pod
from kybern.kubelet.files import read_text, replace_file
from kybern.runtime.cri import IdMapping
from kybern.volumes.paths import pod_directory

LENGTH = 65_536
FIRST = 1  # the machine's own users have the first 65,536
FILE = "userns"


class NoIds(Exception):
    """The message is what the pod's event says."""


class UserNamespaces:
    def __init__(self, pods_directory: str, pods_max: int) -> None:
        self.pods_directory, self.pods_max = pods_directory, pods_max

    def of(self, pod: Pod) -> IdMapping | None:
        """None for a pod that uses the machine's own users."""
        if pod.spec.host_users is not False:
            return None
        uid = pod.metadata.uid or ""
        number = self._known(uid)
        if number is None:
            number = free(self._taken(), FIRST + self.pods_max)
            replace_file(self._path(uid), str(number).encode())
        return IdMapping(number * LENGTH, LENGTH)

    def _taken(self) -> set[int]:
        try:
            uids = os.listdir(self.pods_directory)
        except FileNotFoundError:
            return set()
        return {number for uid in uids if (number := self._known(uid)) is not None}

    def _known(self, uid: str) -> int | None:
        text = read_text(self._path(uid))
        return int(text) if text.isascii() and text.isdecimal() else None

    def _path(self, uid: str) -> str:
        return f"{pod_directory(self.pods_directory, uid)}/{FILE}"


def free(taken: set[int], end: int) -> int:
    """The lowest that nobody has."""
    for number in range(FIRST, end):
        if number not in taken:
            return number
    raise NoIds("could not find an empty slot to allocate a user namespace")
