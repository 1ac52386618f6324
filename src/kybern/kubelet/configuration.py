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
from kybern.kubelet import memory_protection as memory
from kybern.kubelet import shutdown
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configz import duration
from kybern.kubelet.eviction.thresholds import SIGNALS, Threshold
from kybern.kubelet.pull_records import ALLOWLISTED, ALWAYS, NEVER, PRELOADED
from kybern.kubelet.restarts import CRASH_MAX_SECONDS
from kybern.kubelet.settings import seconds, size, text, texts, truth, whole_number
from kybern.kubelet.topology import settings as topology

KIND = ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")

Setting = Callable[[KubeletConfig, Any], KubeletConfig]


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
    for name in [name for name in FIELDS if name in found]:
        try:
            config = FIELDS[name](config, found[name])
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: {error}") from error
    return config


def _as(field: str, read: Callable[[Any], Any]) -> Setting:
    def set_it(config: KubeletConfig, given: Any) -> KubeletConfig:
        changes: dict[str, Any] = {field: read(given)}
        return replace(config, **changes)

    return set_it


def _number(field: str, least: int = 0) -> Setting:
    return _as(field, lambda given: whole_number(given, least))


def _within(part: str, change: Callable[[Any, Any], Any]) -> Setting:
    """Of a group of settings."""

    def set_it(config: KubeletConfig, given: Any) -> KubeletConfig:
        changes: dict[str, Any] = {part: change(getattr(config, part), given)}
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


def _reclaim(config: KubeletConfig, given: Mapping[str, str]) -> KubeletConfig:
    """Of thresholds that there are, hard and soft."""
    for signal, amount in given.items():
        _check_amount(signal, amount)
    changed = (replace(t, reclaim=given.get(t.signal, t.reclaim)) for t in config.eviction)
    return replace(config, eviction=tuple(changed))


def _thresholds(given: Mapping[str, str], grace: Mapping[str, float]) -> list[Threshold]:
    found = []
    for signal, amount in given.items():
        _check_amount(signal, amount)
        if amount not in ("0", "0%"):
            found.append(Threshold(signal, amount, grace_seconds=grace.get(signal, 0.0)))
    return found


def _check_amount(signal: str, amount: str) -> None:
    if signal not in SIGNALS:
        raise ValueError(f"unknown eviction signal {signal}")
    if not amount.endswith("%"):
        value(amount)
    elif not (amount[:-1].isdecimal() and int(amount[:-1]) <= 100):
        raise ValueError(f"{amount!r} is no share")


def _crash(config: KubeletConfig, given: Mapping[str, Any]) -> KubeletConfig:
    unknown = sorted(given.keys() - {"maxContainerRestartPeriod"})
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    longest = seconds(given.get("maxContainerRestartPeriod", duration(CRASH_MAX_SECONDS)))
    if not 1 <= longest <= CRASH_MAX_SECONDS:
        raise ValueError(f"maxContainerRestartPeriod must be between 1s and {duration(CRASH_MAX_SECONDS)}")
    return replace(config, crash_seconds_max=longest)


def _verification(config: KubeletConfig, given: Any) -> KubeletConfig:
    if given not in (NEVER, PRELOADED, ALLOWLISTED, ALWAYS):
        raise ValueError(f"unknown option {given!r}")
    return replace(config, pull_policy=replace(config.pull_policy, name=given))


def _allowlist(config: KubeletConfig, given: Any) -> KubeletConfig:
    return replace(config, pull_policy=replace(config.pull_policy, allowed=texts(given)))


def _features(config: KubeletConfig, given: Mapping[str, bool]) -> KubeletConfig:
    """Those that are not upstream's default, and that this kubelet has."""
    for name, on in given.items():
        if name != "MemoryQoS":
            raise ValueError(f"unrecognized feature gate: {name}")
        config = replace(config, protection=replace(config.protection, throttles=truth(on)))
    return config


# In the order of upstream's page on the configuration; it is also the order in which they are read.
FIELDS: Mapping[str, Setting] = {
    "clusterDomain": _as("cluster_domain", text),
    "clusterDNS": _as("cluster_dns", texts),
    "nodeStatusUpdateFrequency": _as("heartbeat_seconds", seconds),
    "nodeStatusReportFrequency": _as("status_report_seconds", seconds),
    "imagePullCredentialsVerificationPolicy": _verification,
    "preloadedImagesVerificationAllowlist": _allowlist,
    "imageMinimumGCAge": _as("image_age_seconds_min", seconds),
    "imageMaximumGCAge": _as("image_age_seconds_max", seconds),
    "imageGCHighThresholdPercent": _number("image_disk_high_percent"),
    "imageGCLowThresholdPercent": _number("image_disk_low_percent"),
    "cpuManagerPolicy": _within("cpus", topology.cpu_policy),
    "cpuManagerPolicyOptions": _within("cpus", topology.cpu_options),
    "memoryManagerPolicy": _within("memory", topology.memory_policy),
    "topologyManagerPolicy": _within("topology", topology.topology_policy),
    "topologyManagerScope": _within("topology", topology.topology_scope),
    "topologyManagerPolicyOptions": _within("topology", topology.topology_options),
    "runtimeRequestTimeout": _as("request_seconds", seconds),
    "maxPods": _number("pods_max", 1),
    "podPidsLimit": _number("pids_max", -1),
    "resolvConf": _as("resolv_conf", text),
    "evictionHard": _hard,
    "evictionSoft": _soft,
    "evictionSoftGracePeriod": _soft_grace,
    "evictionPressureTransitionPeriod": _as("pressure_seconds", seconds),
    "evictionMaxPodGracePeriod": _number("soft_grace_seconds_max"),
    "evictionMinimumReclaim": _reclaim,
    "featureGates": _features,
    "failSwapOn": _as("refuses_swap", truth),
    "memorySwap": _within("protection", memory.swap),
    "containerLogMaxSize": _as("log_bytes_max", size),
    "containerLogMaxFiles": _number("log_files_max", 2),
    "enableSystemLogHandler": _as("serves_system_logs", truth),
    "systemReserved": _reserved,
    "kubeReserved": _reserved,
    "reservedSystemCPUs": _within("cpus", topology.reserved_cpus),
    "reservedMemory": _within("memory", topology.reserved_memory),
    "memoryThrottlingFactor": _within("protection", memory.throttling),
    "memoryReservationPolicy": _within("protection", memory.reservation),
    "singleProcessOOMKill": _within("protection", memory.single_kill),
    "shutdownGracePeriod": _within("shutdown", shutdown.whole),
    "shutdownGracePeriodCriticalPods": _within("shutdown", shutdown.critical),
    "shutdownGracePeriodByPodPriority": _within("shutdown", shutdown.by_priority),
    "crashLoopBackOff": _crash,
    "allowedUnsafeSysctls": _as("unsafe_sysctls", texts),
}
