"""The configuration file, in upstream's format: KubeSchedulerConfiguration v1, from its text to profiles and extenders.

What is about upstream's inner workings alone (parallelism, how many nodes to score, client connections, leader election)
is accepted and does nothing. Anything else that is unknown or makes no sense is an error that says where.
"""

import base64
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kybern.aio.backoff import Backoff
from kybern.api.yaml import parse
from kybern.scheduler.extenders import HTTP_SECONDS, Extender
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.plugins.table import Factory, profile_of
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import BACKOFF
from kybern.web.tls import client_context

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
EXTENDERS_MAX = 16
DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class WrongConfiguration(ValueError):
    """The message says what is wrong, and where."""


class File(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    api_version: str = ""
    kind: str = ""
    profiles: list[dict[str, Any]] = []
    extenders: list["ExtenderSettings"] = []
    pod_initial_backoff_seconds: float = BACKOFF.first_seconds
    pod_max_backoff_seconds: float = BACKOFF.max_seconds
    parallelism: Any = None
    percentage_of_nodes_to_score: Any = None
    leader_election: Any = None
    client_connection: Any = None
    enable_profiling: Any = None
    enable_contention_profiling: Any = None
    delay_cache_until_active: Any = None


class ManagedResource(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str
    ignored_by_scheduler: bool = False


class TlsSettings(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: str = ""
    key_data: str = ""
    ca_data: str = ""


class ExtenderSettings(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    url_prefix: str
    filter_verb: str = ""
    preempt_verb: str = ""
    prioritize_verb: str = ""
    weight: int = 0
    bind_verb: str = ""
    enable_https: bool = msgspec.field(default=False, name="enableHTTPS")
    tls_config: TlsSettings | None = None
    http_timeout: str = ""
    node_cache_capable: bool = False
    managed_resources: list[ManagedResource] = []
    ignorable: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    profiles: Sequence[Profile] = (DEFAULT_PROFILE,)
    extenders: Sequence[Extender] = ()
    backoff: Backoff = BACKOFF


def read_configuration(path: str, more: Mapping[str, Factory] | None = None) -> Configuration:
    """`more`: plugins besides the built-in ones, by name. Without a path, the defaults."""
    if not path:
        return Configuration()
    try:
        return configuration_of(Path(path).read_bytes(), more)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise WrongConfiguration(f"{path}: {error}") from error


def configuration_of(text: bytes, more: Mapping[str, Factory] | None = None) -> Configuration:
    found = msgspec.convert(parse(text)[0], File)
    if (found.api_version, found.kind) != (API_VERSION, KIND):
        raise WrongConfiguration(f"expected apiVersion {API_VERSION} and kind {KIND}")
    if not 0 < found.pod_initial_backoff_seconds <= found.pod_max_backoff_seconds:
        raise WrongConfiguration("podMaxBackoffSeconds: must be at least podInitialBackoffSeconds, which is above 0")
    if len(found.extenders) > EXTENDERS_MAX:
        raise WrongConfiguration(f"extenders: no more than {EXTENDERS_MAX}")
    if sum(bool(one.bind_verb) for one in found.extenders) > 1:
        raise WrongConfiguration("extenders: only one extender can implement bind")
    unseen = tuple(r.name for one in found.extenders for r in one.managed_resources if r.ignored_by_scheduler)
    profiles = [profile_of(profile, f"profiles[{at}]", more or {}, unseen) for at, profile in enumerate(found.profiles)]
    names = [profile.scheduler_name for profile in profiles]
    if len(set(names)) < len(names):
        raise WrongConfiguration("profiles: each needs a schedulerName of its own")
    sorts = {type(profile.queue_sort) for profile in profiles}
    if len(sorts) > 1:
        raise WrongConfiguration("profiles: all share one queue, so they need the same queueSort plugin")
    return Configuration(
        profiles or (profile_of({}, "profiles[0]", more or {}, unseen),),
        [extender_of(one, f"extenders[{at}]") for at, one in enumerate(found.extenders)],
        Backoff(first_seconds=found.pod_initial_backoff_seconds, max_seconds=found.pod_max_backoff_seconds),
    )


def extender_of(told: ExtenderSettings, at: str) -> Extender:
    if not told.url_prefix.startswith(("http://", "https://")):
        raise WrongConfiguration(f"{at}.urlPrefix: {told.url_prefix!r} is no HTTP address")
    if told.prioritize_verb and told.weight <= 0:
        raise WrongConfiguration(f"{at}.weight: must be above 0 where there is a prioritizeVerb")
    return Extender(
        url=told.url_prefix,
        filter_verb=told.filter_verb,
        prioritize_verb=told.prioritize_verb,
        bind_verb=told.bind_verb,
        preempt_verb=told.preempt_verb,
        weight=told.weight or 1,
        timeout_seconds=seconds_of(told.http_timeout, f"{at}.httpTimeout") if told.http_timeout else HTTP_SECONDS,
        node_cache_capable=told.node_cache_capable,
        managed=frozenset(resource.name for resource in told.managed_resources),
        ignorable=told.ignorable,
        tls=tls_of(told.tls_config) if told.url_prefix.startswith("https://") else None,
        server_name=told.tls_config.server_name if told.tls_config else "",
    )


def tls_of(told: TlsSettings | None) -> ssl.SSLContext:
    told = told or TlsSettings()

    def content(data: str, file: str) -> bytes | None:
        if data:
            return base64.b64decode(data, validate=True)
        return Path(file).read_bytes() if file else None

    return client_context(
        verify=not told.insecure,
        ca=content(told.ca_data, told.ca_file),
        certificate=content(told.cert_data, told.cert_file),
        key=content(told.key_data, told.key_file),
    )


def seconds_of(text: str, at: str) -> float:
    """A duration as Go writes it: `1m30s`, `500ms`."""
    total, number = 0.0, ""
    rest = text
    while rest:
        unit = next((unit for unit in DURATION_UNITS if number and rest.startswith(unit)), "")
        if unit:
            total, number, rest = total + float(number) * DURATION_UNITS[unit], "", rest[len(unit) :]
        elif rest[0].isdecimal() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
        else:
            raise WrongConfiguration(f"{at}: {text!r} is no duration")
    if number or total <= 0:
        raise WrongConfiguration(f"{at}: {text!r} is no duration")
    return total
