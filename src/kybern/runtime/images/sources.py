"""The images of another node's store, as a registry (see `mirror`): where they are pulled from instead of where their name says.

`localhost:5000/app` means this machine's registry, which only its first node can reach by that name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kybern.runtime.cri import AuthConfig
from kybern.runtime.images.hosts import Host
from kybern.runtime.images.reference import Reference, parse
from kybern.runtime.images.registry import Registry

PORT_MARK = "__"  # a path has no colons
USER = "kybern"


def mirrored(reference: Reference) -> str:
    """The repository by the name that a mirror has for it."""
    return f"{reference.domain.lower().replace(':', PORT_MARK)}/{reference.path}"


@dataclass(frozen=True, slots=True)
class Source:
    """A mirror, and the registries whose images are pulled from it."""

    domains: frozenset[str]
    address: str
    password: Callable[[], str]

    def registry(self, reference: Reference) -> Registry:
        here = parse(f"{self.address}/{mirrored(reference)}")
        return Registry(here, AuthConfig(username=USER, password=self.password()), Host(f"http://{self.address}"))
