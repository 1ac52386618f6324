"""The kubelet's settings from a file: upstream's KubeletConfiguration, as far as it means something here.

    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    maxPods: 50

A field that this kubelet does not know is refused, not ignored: whoever set it relies on it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kybern.api.quantity import add, canonical, value
from kybern.api.yaml import parse
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.eviction.thresholds import SIGNALS, Threshold
from kybern.kubelet.topology import settings as topology

KIND = ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def configured(config: KubeletConfig, text: str) -> KubeletConfig:
    """ValueError, naming the field, where the text is no configuration."""
    found, problems = parse(text)
    if problems:
        raise ValueError(problems[0])
    if found is None:
        return config
    if not isinstance(found, dict) or (found.pop("apiVersion", None), found.pop("kind", None)) != KIND:
        raise ValueError(f"not a {KIND[1]} of {KIND[0]}")
    unknown = sorted(found.keys() - FIELDS.keys())
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name, given in found.items():
        try:
            config = FIELDS[name](config, given)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
    return config


def _number(field: str, least: int = 0) -> Callable[[KubeletConfig, Any], KubeletConfig]:
    def set_it(config: KubeletConfig, given: Any) -> KubeletConfig:
        if not isinstance(given, int) or isinstance(given, bool) or given < least:
            raise ValueError(f"must be a whole number of at least {least}")
        changes: dict[str, Any] = {field: given}
        return replace(config, **changes)

    return set_it


def _reserved(config: KubeletConfig, given: Mapping[str, Any]) -> KubeletConfig:
    """Of the system and of Kubernetes, together."""
    total = dict(config.reserved)
    for name, amount in given.items():
        if name not in ("cpu", "memory", "ephemeral-storage", "pid"):
            raise ValueError(f"{name!r} cannot be reserved")
        total[name] = str(add(total.get(name, "0"), canonical(amount)))
    return replace(config, reserved=total)


def _hard(config: KubeletConfig, given: Mapping[str, str]) -> KubeletConfig:
    """What is not named keeps upstream's meaning: it is no threshold any more."""
    soft = tuple(threshold for threshold in config.eviction if threshold.grace_seconds)
    return replace(config, eviction=(*_thresholds(given, {}), *soft))


def _soft(config: KubeletConfig, given: Mapping[str, str]) -> KubeletConfig:
    return replace(config, eviction=(*config.eviction, *_thresholds(given, dict.fromkeys(given, 1.0))))


def _soft_grace(config: KubeletConfig, given: Mapping[str, str]) -> KubeletConfig:
    changed = (
        replace(t, grace_seconds=seconds(given[t.signal])) if t.grace_seconds and t.signal in given else t
        for t in config.eviction
    )
    return replace(config, eviction=tuple(changed))


def _thresholds(given: Mapping[str, str], grace: Mapping[str, float]) -> list[Threshold]:
    found = []
    for signal, amount in given.items():
        if signal not in SIGNALS:
            raise ValueError(f"unknown eviction signal {signal}")
        if not amount.endswith("%"):
            value(amount)
        elif not (amount[:-1].isdecimal() and int(amount[:-1]) <= 100):
            raise ValueError(f"{amount!r} is no share")
        if amount not in ("0", "0%"):
            found.append(Threshold(signal, amount, grace_seconds=grace.get(signal, 0.0)))
    return found


def seconds(text: str) -> float:
    """As Go writes a duration: `1m30s`."""
    total, number = 0.0, ""
    rest = text
    while rest:
        unit = next((u for u in ("ms", "s", "m", "h") if rest.startswith(u)), "")
        if unit and number:
            total, number, rest = total + float(number) * UNITS[unit], "", rest[len(unit) :]
        elif rest[0].isdecimal() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
        else:
            raise ValueError(f"{text!r} is no duration")
    if number:
        raise ValueError(f"{text!r} lacks a unit")
    return total


def _within(part: str, change: Callable[[Any, Any], Any]) -> Callable[[KubeletConfig, Any], KubeletConfig]:
    """Of a group of settings."""

    def set_it(config: KubeletConfig, given: Any) -> KubeletConfig:
        changes: dict[str, Any] = {part: change(getattr(config, part), given)}
        return replace(config, **changes)

    return set_it


def _sysctls(config: KubeletConfig, given: list[str]) -> KubeletConfig:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError("must be a list of names")
    return replace(config, unsafe_sysctls=tuple(given))


# In the order of upstream's page on the configuration.
FIELDS: Mapping[str, Callable[[KubeletConfig, Any], KubeletConfig]] = {
    "imageGCHighThresholdPercent": _number("image_disk_high_percent"),
    "imageGCLowThresholdPercent": _number("image_disk_low_percent"),
    "cpuManagerPolicy": _within("cpus", topology.cpu_policy),
    "cpuManagerPolicyOptions": _within("cpus", topology.cpu_options),
    "memoryManagerPolicy": _within("memory", topology.memory_policy),
    "topologyManagerPolicy": _within("topology", topology.topology_policy),
    "topologyManagerScope": _within("topology", topology.topology_scope),
    "topologyManagerPolicyOptions": _within("topology", topology.topology_options),
    "maxPods": _number("pods_max", 1),
    "podPidsLimit": _number("pids_max", -1),
    "evictionHard": _hard,
    "evictionSoft": _soft,
    "evictionSoftGracePeriod": _soft_grace,
    "systemReserved": _reserved,
    "kubeReserved": _reserved,
    "reservedSystemCPUs": _within("cpus", topology.reserved_cpus),
    "reservedMemory": _within("memory", topology.reserved_memory),
    "allowedUnsafeSysctls": _sysctls,
}
