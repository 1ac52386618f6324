"""PodSecurityConfiguration: the policy where a namespace says nothing, and who is exempt whatever it says."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, invalid_value
from kybern.apiserver.admission.podsecurity.policy import (
    FREE,
    LATEST,
    LEVELS,
    MODES,
    NO_LEVEL,
    NO_VERSION,
    Policy,
    Standard,
    is_version,
)


class Exemptions(Struct, frozen=True, rename="camel"):
    usernames: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


class PodSecurityConfiguration(Struct, frozen=True):
    defaults: dict[str, str] = field(default_factory=dict)
    exemptions: Exemptions = Exemptions()

    @property
    def policy(self) -> Policy:
        return Policy(*(Standard(self.level(mode), self.version(mode)) for mode in MODES))

    def level(self, mode: str) -> str:
        return self.defaults.get(mode) or FREE

    def version(self, mode: str) -> str:
        return self.defaults.get(f"{mode}-version") or LATEST


def configured(said: Any) -> PodSecurityConfiguration:
    """ValueError, or msgspec's, where it makes no sense."""
    found = msgspec.convert(
        {key: said[key] for key in ("defaults", "exemptions") if said.get(key)}, PodSecurityConfiguration
    )
    wrong = [str(error) for error in problems(found)]
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def problems(found: PodSecurityConfiguration) -> Iterator[FieldError]:
    for mode in MODES:
        if found.level(mode) not in LEVELS:
            yield invalid_value(f"defaults.{mode}", found.level(mode), NO_LEVEL)
        if not is_version(found.version(mode)):
            yield invalid_value(f"defaults.{mode}-version", found.version(mode), NO_VERSION)
    exempt = found.exemptions
    for at, listed, rule in (
        ("namespaces", exempt.namespaces, names.dns1123_label),
        ("runtimeClasses", exempt.runtime_classes, names.dns1123_subdomain),
        ("usernames", exempt.usernames, not_empty),
    ):
        for index, name in enumerate(listed):
            wrong = list(rule(name))
            if wrong:
                yield invalid_value(f"exemptions.{at}[{index}]", name, ", ".join(wrong))
            elif name in listed[:index]:
                yield duplicate(f"exemptions.{at}[{index}]", name)


def not_empty(name: str) -> Iterator[str]:
    if not name:
        yield "username must not be empty"
