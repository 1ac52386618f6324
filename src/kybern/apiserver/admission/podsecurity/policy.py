"""A namespace's policy: a level and a version each for what is refused, warned of and noted, from its labels.

    pod-security.kubernetes.io/enforce: baseline
    pod-security.kubernetes.io/enforce-version: v1.31      # how the standard was then; or `latest`

What a label does not say the configuration does. A label that makes no sense is an error in the namespace; pods are held
to `restricted` meanwhile, at the latest version.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from kybern.api.invalid import FieldError, invalid_value

PREFIX = "pod-security.kubernetes.io/"
FREE, BASE, HARDENED = LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
LATEST = "latest"
NEWEST_MINOR = 37  # in which a check changed last; nothing that came later is known
VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,8})", re.ASCII)

NO_LEVEL = f"must be one of {', '.join(LEVELS)}"
NO_VERSION = 'must be "latest" or "v1.x"'


class Standard(Struct, frozen=True):
    level: str = FREE
    version: str = LATEST

    @property
    def minor(self) -> int:
        return NEWEST_MINOR if self.version == LATEST else min(int(self.version[3:]), NEWEST_MINOR)

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


class Policy(Struct, frozen=True):
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()

    @property
    def is_free(self) -> bool:
        return {self.enforce.level, self.audit.level, self.warn.level} == {FREE}


def is_version(text: str) -> bool:
    return text == LATEST or VERSION.fullmatch(text) is not None


def problems(labels: Mapping[str, str]) -> Iterator[FieldError]:
    for mode in MODES:
        level, version = labels.get(f"{PREFIX}{mode}"), labels.get(f"{PREFIX}{mode}-version")
        if level is not None and level not in LEVELS:
            yield invalid_value(f"metadata.labels[{PREFIX}{mode}]", level, NO_LEVEL)
        if version is not None and not is_version(version):
            yield invalid_value(f"metadata.labels[{PREFIX}{mode}-version]", version, NO_VERSION)


def policy_of(labels: Mapping[str, str], defaults: Policy) -> Policy:
    enforce = standard_of(labels, "enforce", defaults.enforce, HARDENED)
    warn = standard_of(labels, "warn", defaults.warn, FREE)
    enforced = labels.get(f"{PREFIX}enforce")
    if f"{PREFIX}warn" not in labels and enforced in LEVELS and stricter(enforce.level, warn.level):
        said = f"{PREFIX}warn-version" in labels
        warn = Standard(enforce.level, warn.version if said else enforce.version)
    return Policy(enforce, standard_of(labels, "audit", defaults.audit, FREE), warn)


def standard_of(labels: Mapping[str, str], mode: str, default: Standard, otherwise: str) -> Standard:
    """`otherwise`: the level in place of one that there is not."""
    level = labels.get(f"{PREFIX}{mode}", default.level)
    version = labels.get(f"{PREFIX}{mode}-version", default.version)
    return Standard(level if level in LEVELS else otherwise, version if is_version(version) else LATEST)


def stricter(one: str, other: str) -> bool:
    return LEVELS.index(one) > LEVELS.index(other)
