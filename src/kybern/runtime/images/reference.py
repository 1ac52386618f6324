"""Image names, by docker's rules: `nginx` is `docker.io/library/nginx:latest`.

    name = [domain "/"] path [":" tag] ["@" digest]

The first part is a domain when it has a dot or a colon or is `localhost`, or has an upper-case letter.
"""

import re
from dataclasses import dataclass

from kybern.runtime.cri import RuntimeFault

DEFAULT_DOMAIN, LEGACY_DOMAIN, OFFICIAL = "docker.io", "index.docker.io", "library/"
DEFAULT_TAG = "latest"
NAME_MAX = 255

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """In full: with its tag, and its digest where it has one."""
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def asked(self) -> str:
        """What a registry is asked for: the digest where there is one."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """RuntimeFault InvalidImageName where it is none."""
    rest, _, digest = text.partition("@")
    if len(text) > 2 * NAME_MAX + 128 or ("@" in text and not DIGEST.fullmatch(digest)) or _ID.fullmatch(text):
        raise _invalid(text)
    domain, path = _split_domain(rest)
    path, _, tag = path.partition(":")
    if not _PATH.fullmatch(path):
        lower = bool(_PATH.fullmatch(path.lower()))
        raise _invalid(text, f": repository name ({path}) must be lowercase" if lower else "")
    if not _DOMAIN.fullmatch(domain) or (tag and not _TAG.fullmatch(tag)) or rest.endswith(":"):
        raise _invalid(text)
    if len(domain) + len(path) > NAME_MAX:
        raise _invalid(text, f": repository name must not be more than {NAME_MAX} characters")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, name)
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path


def _invalid(text: str, detail: str = "") -> RuntimeFault:
    shown = text if len(text) <= NAME_MAX else f"{text[:NAME_MAX]}..."
    return RuntimeFault(
        "InvalidImageName",
        f'Failed to apply default image tag "{shown}": couldn\'t parse image name "{shown}": '
        f"invalid reference format{detail}",
    )
