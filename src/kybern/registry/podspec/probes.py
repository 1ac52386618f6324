"""Probes and lifecycle hooks: exactly one handler each, and numbers that make sense."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import HTTPGetAction, Lifecycle, LifecycleHandler, PodSpec, Probe
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import not_negative, port_or_name

HANDLERS = (
    ("exec", "exec"),
    ("httpGet", "http_get"),
    ("tcpSocket", "tcp_socket"),
    ("grpc", "grpc"),
    ("sleep", "sleep"),
)
LINUX_SIGNALS = tuple(sorted(f"SIG{name}" for name in (
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    *(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)),
)))  # fmt: skip
WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def validate_probe(probe: Probe, spec: PodSpec, at: str) -> Iterator[FieldError]:
    yield from validate_handler(probe, spec, at)
    for field, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds), ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds), ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):  # fmt: skip
        yield from not_negative(f"{at}.{field}", value)
    grace = probe.termination_grace_period_seconds
    if grace is not None and grace <= 0:
        yield invalid_value(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def validate_restarting_probe(probe: Probe | None, spec: PodSpec, at: str) -> Iterator[FieldError]:
    """A liveness or startup probe: one success is all it takes."""
    if probe is None:
        return
    yield from validate_probe(probe, spec, at)
    if probe.success_threshold is not None and probe.success_threshold != 1:
        yield invalid_value(f"{at}.successThreshold", probe.success_threshold, "must be 1")


def validate_readiness_probe(probe: Probe | None, spec: PodSpec, at: str) -> Iterator[FieldError]:
    if probe is None:
        return
    yield from validate_probe(probe, spec, at)
    grace = probe.termination_grace_period_seconds
    if grace is not None:
        yield invalid_value(f"{at}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")


def validate_handler(handler: Any, spec: PodSpec, at: str) -> Iterator[FieldError]:
    count = 0
    for field, name in HANDLERS:
        action = getattr(handler, name, None)
        if action is None:
            continue
        count += 1
        if count > 1:
            yield forbidden_field(f"{at}.{field}", "may not specify more than 1 handler type")
        else:
            yield from validate_action(field, action, spec, f"{at}.{field}")
    if count == 0:
        yield required(at, "must specify a handler type")


def validate_action(field: str, action: Any, spec: PodSpec, at: str) -> Iterator[FieldError]:
    match field:
        case "exec":
            if not action.command:
                yield required(f"{at}.command")
        case "httpGet":
            yield from validate_http_get(action, at)
        case "tcpSocket":
            yield from port_or_name(f"{at}.port", action.port)
        case "grpc":
            yield from port_or_name(f"{at}.port", action.port)
        case "sleep":
            grace = spec.termination_grace_period_seconds
            if grace is not None and not 0 <= action.seconds <= grace:
                why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield invalid_value(at, action.seconds, why)


def validate_http_get(action: HTTPGetAction, at: str) -> Iterator[FieldError]:
    if not action.path:
        yield required(f"{at}.path")
    yield from port_or_name(f"{at}.port", action.port)
    if action.scheme not in ("HTTP", "HTTPS"):
        yield not_supported(f"{at}.scheme", action.scheme or "", ("HTTP", "HTTPS"))
    for header in action.http_headers or ():
        for wrong in names.http_header(header.name):
            yield invalid_value(f"{at}.httpHeaders", header.name, wrong)


def validate_lifecycle(lifecycle: Lifecycle, spec: PodSpec, at: str) -> Iterator[FieldError]:
    hooks: tuple[tuple[str, LifecycleHandler | None], ...] = (
        ("postStart", lifecycle.post_start),
        ("preStop", lifecycle.pre_stop),
    )
    for field, hook in hooks:
        if hook is not None:
            yield from validate_handler(hook, spec, f"{at}.{field}")
    if lifecycle.stop_signal is not None:
        yield from validate_stop_signal(lifecycle.stop_signal, spec, f"{at}.stopSignal")


def validate_stop_signal(name: str, spec: PodSpec, at: str) -> Iterator[FieldError]:
    """What a signal is called depends on the system, so that must be told."""
    if spec.os is None:
        yield forbidden_field(at, "may not be set for containers with empty `spec.os.name`")
    elif spec.os.name == "windows" and name not in WINDOWS_SIGNALS:
        yield not_supported(at, name, WINDOWS_SIGNALS)
    elif spec.os.name == "linux" and name not in LINUX_SIGNALS:
        yield not_supported(at, name, LINUX_SIGNALS)
