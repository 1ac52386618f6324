"""Probes and lifecycle hooks: exactly one handler each, and numbers that make sense."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import HTTPGetAction, Lifecycle, LifecycleHandler, Probe
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, required
from kybern.registry.checks import not_negative, one_of, port_or_name

HANDLERS = (
    ("exec", "exec"),
    ("httpGet", "http_get"),
    ("tcpSocket", "tcp_socket"),
    ("grpc", "grpc"),
    ("sleep", "sleep"),
)
SIGNALS = tuple(f"SIG{name}" for name in (
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
))  # fmt: skip


def validate_probe(probe: Probe, at: str) -> Iterator[FieldError]:
    yield from validate_handler(probe, at)
    for field, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds), ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds), ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):  # fmt: skip
        yield from not_negative(f"{at}.{field}", value)
    grace = probe.termination_grace_period_seconds
    if grace is not None and grace <= 0:
        yield invalid_value(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def validate_restarting_probe(probe: Probe | None, at: str) -> Iterator[FieldError]:
    """A liveness or startup probe: one success is all it takes."""
    if probe is None:
        return
    yield from validate_probe(probe, at)
    if probe.success_threshold is not None and probe.success_threshold != 1:
        yield invalid_value(f"{at}.successThreshold", probe.success_threshold, "must be 1")


def validate_readiness_probe(probe: Probe | None, at: str) -> Iterator[FieldError]:
    if probe is None:
        return
    yield from validate_probe(probe, at)
    grace = probe.termination_grace_period_seconds
    if grace is not None:
        yield invalid_value(f"{at}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")


def validate_handler(handler: Any, at: str) -> Iterator[FieldError]:
    count = 0
    for field, name in HANDLERS:
        action = getattr(handler, name, None)
        if action is None:
            continue
        count += 1
        if count > 1:
            yield forbidden_field(f"{at}.{field}", "may not specify more than 1 handler type")
        else:
            yield from validate_action(field, action, f"{at}.{field}")
    if count == 0:
        yield required(at, "must specify a handler type")


def validate_action(field: str, action: Any, at: str) -> Iterator[FieldError]:
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
            if action.seconds < 0:
                yield invalid_value(f"{at}.seconds", action.seconds, "must be a non-negative integer")


def validate_http_get(action: HTTPGetAction, at: str) -> Iterator[FieldError]:
    if not action.path:
        yield required(f"{at}.path")
    yield from port_or_name(f"{at}.port", action.port)
    yield from one_of(f"{at}.scheme", action.scheme, ("HTTP", "HTTPS"))
    for header in action.http_headers or ():
        for wrong in names.http_header(header.name):
            yield invalid_value(f"{at}.httpHeaders", header.name, wrong)


def validate_lifecycle(lifecycle: Lifecycle, at: str) -> Iterator[FieldError]:
    hooks: tuple[tuple[str, LifecycleHandler | None], ...] = (
        ("postStart", lifecycle.post_start),
        ("preStop", lifecycle.pre_stop),
    )
    for field, hook in hooks:
        if hook is not None:
            yield from validate_handler(hook, f"{at}.{field}")
    if lifecycle.stop_signal is not None and not is_signal(lifecycle.stop_signal):
        yield from one_of(f"{at}.stopSignal", lifecycle.stop_signal, SIGNALS)


def is_signal(name: str) -> bool:
    """A named signal, or one of the real-time ones: SIGRTMIN+3."""
    return name in SIGNALS or name.startswith(("SIGRTMIN", "SIGRTMAX"))
