"""Where the images of a registry really come from: its mirrors, said in containerd's own files.

    <directory>/docker.io/hosts.toml     of one registry (`_default` of all that have none of their own)

        server = "https://registry-1.docker.io"      asked last, and pushed to
        [host."https://mirror.example:5000"]         asked before it, in this order
          capabilities = ["pull", "resolve"]
          ca = "/etc/ssl/mirror.pem"
          skip_verify = false

A file is read at each pull, so a change counts at once. A mirror never sees the registry's credentials.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kybern.runtime.images.reference import Reference
from kybern.web.addresses import names_own

FILE, DEFAULT = "hosts.toml", "_default"
ENDPOINTS = {"docker.io": "registry-1.docker.io"}
CAPABILITIES = frozenset({"pull", "resolve", "push"})
SETTINGS = frozenset({"capabilities", "ca", "skip_verify"})


class BadHosts(Exception):
    """A file that is none; the message names it."""


@dataclass(frozen=True, slots=True)
class Host:
    url: str
    """`https://mirror.example:5000`: the scheme is taken at its word."""
    capabilities: frozenset[str] = CAPABILITIES
    ca: bytes | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Hosts:
    server: Host
    mirrors: tuple[Host, ...] = ()

    def to_pull(self, reference: Reference) -> tuple[Host, ...]:
        """The mirrors that may be asked for it. A tag is resolved only where the file allows that."""
        needed = {"pull"} if reference.digest else {"pull", "resolve"}
        return tuple(host for host in self.mirrors if needed <= host.capabilities)


def own_host(domain: str) -> Host:
    """A registry by its name. Plain HTTP only on loopback."""
    name = ENDPOINTS.get(domain, domain)
    return Host(f"{'http' if names_own(urlsplit(f'//{name}').hostname or '') else 'https'}://{name}")


def hosts_of(directory: Path | None, domain: str) -> Hosts:
    """BadHosts where its file cannot be understood."""
    own = own_host(domain)
    for name in (domain, DEFAULT) if directory is not None else ():
        path = Path(directory or "", name, FILE)
        if not path.exists():
            continue
        try:
            return _read(path, own)
        except (OSError, ValueError, TypeError) as error:
            raise BadHosts(f"{path}: {error}") from error
    return Hosts(own)


def _read(path: Path, own: Host) -> Hosts:
    found = tomllib.loads(path.read_text())
    mirrors = table(found.pop("host", {}))
    server = found.pop("server", own.url)
    return Hosts(
        _host(server, found, path.parent),
        tuple(_host(url, table(settings), path.parent) for url, settings in mirrors.items()),
    )


def _host(url: str, settings: Mapping[str, Any], directory: Path) -> Host:
    unknown = sorted(settings.keys() - SETTINGS)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}")
    parts = urlsplit(text(url))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{url!r} is not the address of a registry")
    given = settings.get("capabilities", sorted(CAPABILITIES))
    if not isinstance(given, list) or not CAPABILITIES.issuperset(given):
        raise ValueError(f"capabilities are of {', '.join(sorted(CAPABILITIES))}")
    ca, skip_verify = settings.get("ca"), settings.get("skip_verify", False)
    if not isinstance(skip_verify, bool):
        raise ValueError("skip_verify is true or false")
    return Host(
        url.rstrip("/"),
        frozenset(given),
        None if ca is None else (directory / text(ca)).read_bytes(),
        not skip_verify,
    )


def table(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{given!r} is no table")
    return given


def text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is no text")
    return given
