"""Annotations of a pod that mean something: they are judged like fields, and some of them are settled."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import AppArmorProfile, PodSpec, SeccompProfile, Toleration
from kybern.api.errors import ApiError
from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.api.numbers import integer
from kybern.registry.checks import relative_path
from kybern.registry.podspec.placement import validate_tolerations
from kybern.registry.podspec.windows import containers_of

MIRROR = "kubernetes.io/config.mirror"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_PROFILES = ("runtime/default", "docker/default", "unconfined")
LOCAL = "localhost/"

Annotations = Mapping[str, str]


def validate_pod_annotations(annotations: Annotations, spec: PodSpec, at: str) -> Iterator[FieldError]:
    if MIRROR in annotations and not spec.node_name:
        why = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid_value(f"{at}[{MIRROR}]", annotations[MIRROR], why)
    if annotations.get(TOLERATIONS):
        yield from validate_annotated_tolerations(annotations[TOLERATIONS], at)
    cost = annotations.get(DELETION_COST)
    if cost is not None and not is_int32(cost):
        yield invalid_value(f"{at}[{DELETION_COST}]", cost, "must be a 32bit integer")
    containers = {container.name for container, _ in containers_of(spec, "")}
    for key, value in annotations.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            yield from validate_seccomp_annotation(value, f"{at}.{key}")
        elif key.startswith(APP_ARMOR):
            name = key.removeprefix(APP_ARMOR)
            if name not in containers:
                yield invalid_value(f"{at}[{key}]", name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith(LOCAL):
                yield invalid_value(f"{at}[{key}]", value, f'invalid AppArmor profile name: "{value}"')


def is_int32(text: str) -> bool:
    """A number in its shortest form: no plus sign, no zeros in front."""
    number = integer(text, bits=32)
    return number is not None and str(number) == text


def validate_annotated_tolerations(text: str, at: str) -> Iterator[FieldError]:
    try:
        found: Any = from_builtins(tuple[Toleration, ...], json.loads(text))
    except (ValueError, ApiError, RecursionError) as error:
        yield invalid_value(at, TOLERATIONS, str(error))
    else:
        yield from validate_tolerations(found, f"{at}.{TOLERATIONS}")


def validate_seccomp_annotation(profile: str, at: str) -> Iterator[FieldError]:
    if profile.startswith(LOCAL):
        yield from relative_path(at, profile.removeprefix(LOCAL))
    elif profile not in SECCOMP_PROFILES:
        yield invalid_value(at, profile, "must be a valid seccomp profile")


def validate_profiles_agree(annotations: Annotations, spec: PodSpec, at: str) -> Iterator[FieldError]:
    """What an annotation says of a profile and what the field says is the same."""
    context = spec.security_context
    if context is not None and context.seccomp_profile is not None and SECCOMP_POD in annotations:
        here = f"{at}.securityContext.seccompProfile"
        yield from validate_agrees(annotations[SECCOMP_POD], context.seccomp_profile, "seccomp", here)
    windows = spec.os is not None and spec.os.name == "windows"
    for container, path in containers_of(spec, at):
        own = container.security_context
        seccomp = annotations.get(SECCOMP_CONTAINER + container.name)
        if own is not None and own.seccomp_profile is not None and seccomp is not None:
            yield from validate_agrees(
                seccomp, own.seccomp_profile, "seccomp", f"{path}.securityContext.seccompProfile"
            )
        app_armor = annotations.get(APP_ARMOR + container.name)
        profile = own.app_armor_profile if own is not None and own.app_armor_profile is not None else None
        if profile is None and context is not None:
            profile = context.app_armor_profile
        if profile is not None and app_armor is not None and not windows:
            yield from validate_agrees(app_armor, profile, "apparmor", f"{path}.securityContext.appArmorProfile")


def validate_agrees(text: str, profile: SeccompProfile | AppArmorProfile, word: str, at: str) -> Iterator[FieldError]:
    named: dict[str, tuple[str, ...]] = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default",)}
    if word == "seccomp":
        named["RuntimeDefault"] += ("docker/default",)
    if profile.type == "Localhost":
        if not text.startswith(LOCAL):
            yield forbidden_field(f"{at}.type", f"{word} type in annotation and field must match")
        elif text.removeprefix(LOCAL) != profile.localhost_profile:
            yield forbidden_field(f"{at}.localhostProfile", f"{word} profile in annotation and field must match")
    elif profile.type in named and text not in named[profile.type]:
        yield forbidden_field(f"{at}.type", f"{word} type in annotation and field must match")


def validate_annotations_kept(new: Annotations, old: Annotations, at: str) -> Iterator[FieldError]:
    """Whose pod it is, and under which profile it runs, was settled when it was made."""
    for key in {**old, **new}:
        if new.get(key) == old.get(key):
            continue
        doing = "remove or update" if key in old else "add"
        if key.startswith(APP_ARMOR):
            yield forbidden_field(f"{at}[{key}]", f"may not {doing} AppArmor annotations")
        if key == MIRROR:
            yield forbidden_field(f"{at}[{key}]", f"may not {doing} mirror pod annotation")
