"""What the checks of both levels look with: a pod's containers and security contexts, and upstream's words about them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kybern.api.core_v1 import PodSpec


class Violation(NamedTuple):
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})"


Annotations = Mapping[str, str]
Check = Callable[[PodSpec, Annotations], Violation | None]


def containers(spec: PodSpec) -> Iterator[Any]:
    yield from spec.init_containers or ()
    yield from spec.containers
    yield from spec.ephemeral_containers or ()


def those(spec: PodSpec, wrong: Callable[[Any], bool]) -> list[str]:
    """The containers with a security context that is wrong."""
    return [c.name for c in containers(spec) if c.security_context is not None and wrong(c.security_context)]


def unless(spec: PodSpec, right: Callable[[Any], bool]) -> list[str]:
    """The containers whose security context does not say what it should."""
    return [c.name for c in containers(spec) if c.security_context is None or not right(c.security_context)]


def setters(spec: PodSpec, wrong: Callable[[Any], bool]) -> str:
    """Who has a security context that is wrong: `pod and containers "a", "b"`; empty where nobody has."""
    names = those(spec, wrong)
    parts = ["pod"] if spec.security_context is not None and wrong(spec.security_context) else []
    return " and ".join([*parts, *([called(names)] if names else [])])


def values(spec: PodSpec, read: Callable[[Any], Iterable[str]]) -> list[str]:
    """What the security contexts of the pod and its containers say, each once and in order."""
    return sorted({value for context in contexts(spec) for value in read(context)})


def contexts(spec: PodSpec) -> Iterator[Any]:
    """The pod's and its containers', as far as they have one."""
    every = (spec.security_context, *(container.security_context for container in containers(spec)))
    return (context for context in every if context is not None)


def called(names: list[str]) -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{plural('container', names)} {quoted(names)}"


def plural(one: str, many: Iterable[Any]) -> str:
    return one if len(list(many)) == 1 else f"{one}s"


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def in_user_namespace(spec: PodSpec) -> bool:
    """Root there is nobody here."""
    return spec.host_users is False


def is_windows(spec: PodSpec) -> bool:
    """Where some fields of a security context do not exist."""
    return spec.os is not None and spec.os.name == "windows"


def kept_seccomp(context: Any) -> bool:
    """Whether it names a seccomp profile that is none."""
    profile = context.seccomp_profile
    return profile is not None and profile.type not in ("RuntimeDefault", "Localhost")


def forbidden_seccomp(spec: PodSpec) -> Violation | None:
    found = setters(spec, kept_seccomp)
    if not found:
        return None
    types = values(spec, lambda context: [context.seccomp_profile.type] if kept_seccomp(context) else [])
    return Violation("seccompProfile", f"{found} must not set securityContext.seccompProfile.type to {quoted(types)}")
