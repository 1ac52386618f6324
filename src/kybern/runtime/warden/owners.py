"""Whose the files of a container are: with a user namespace, its user 0 is an ordinary user of the machine.

What is mounted into it shows with the namespace's ids (idmapped mounts), so files on the disk need not be owned by
anybody else; what is made for it belongs to that ordinary user.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kybern.linux import mounts, processes


class SetupError(Exception):
    """The container cannot be set up as asked; the message is for its user."""


@dataclass(frozen=True, slots=True)
class Owners:
    namespace: int = -1
    """The open user namespace; -1 for the machine's own."""
    host_id: int = 0

    @property
    def mapped(self) -> bool:
        return self.namespace >= 0

    def show(self, mount: int, source: str, *, recursive: bool) -> None:
        """Files of this mount, which is nowhere yet, as the container is to see them."""
        if not self.mapped:
            return
        try:
            mounts.change(mount, recursive=recursive, user_namespace=self.namespace)
        except OSError as error:
            raise SetupError(
                f"failed to set MOUNT_ATTR_IDMAP on {source}: {(error.strerror or '').lower()} "
                "(maybe the filesystem used doesn't support idmap mounts on this kernel?)"
            ) from error

    def layers(self, directories: Sequence[str], staging: str) -> list[str]:
        """The same layers as the container is to see them, each at a place of its own below `staging`."""
        if not self.mapped:
            return list(directories)
        found = []
        for number, directory in enumerate(directories):
            place = f"{staging}/layer{number}"
            os.mkdir(place)
            made = mounts.clone(directory)
            self.show(made, directory, recursive=False)
            mounts.attach_at(made, place)
            found.append(place)
        return found

    def take(self, directory: str) -> None:
        if self.mapped and directory:
            os.chown(directory, self.host_id, self.host_id)

    def make_theirs(self) -> None:
        """What this process makes from now on is the container's."""
        if self.mapped:
            processes.own_files_as(self.host_id, self.host_id)


def owners_of(spec: Mapping[str, Any]) -> Owners:
    path = next((entry.get("path", "") for entry in spec["linux"]["namespaces"] if entry["type"] == "user"), "")
    if not path:
        return Owners()
    return Owners(os.open(path, os.O_RDONLY | os.O_CLOEXEC), host_id_of(spec))


def host_id_of(spec: Mapping[str, Any]) -> int:
    mappings = spec["linux"].get("uidMappings") or ()
    return int(mappings[0]["hostID"]) if mappings else 0
