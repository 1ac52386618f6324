"""Variables of a container: names, and the one source that each may have."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import EnvFromSource, EnvVar, EnvVarSource, FileKeySelector
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.registry.checks import named, projected_path
from kybern.registry.metadata import completed
from kybern.registry.podspec.fields import ENV_FIELDS, validate_field_ref, validate_resource_ref

NO_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
TWO_SOURCES = "may not have more than one field specified at a time"


def validate_env(env: tuple[EnvVar, ...], at: str) -> Iterator[FieldError]:
    for index, variable in enumerate(env):
        if not variable.name:
            yield required(f"{at}[{index}].name")
        elif not variable.name.isidentifier():
            for wrong in names.relaxed_env_var_name(variable.name):
                yield invalid_value(f"{at}[{index}].name", variable.name, wrong)
        if variable.value_from is not None:
            yield from validate_source(variable.value_from, variable.value, f"{at}[{index}].valueFrom")


def validate_source(source: EnvVarSource, value: str | None, at: str) -> Iterator[FieldError]:
    count = 0
    if source.field_ref is not None:
        count += 1
        yield from validate_field_ref(source.field_ref, ENV_FIELDS, f"{at}.fieldRef")
    if source.resource_field_ref is not None:
        count += 1
        yield from validate_resource_ref(source.resource_field_ref, f"{at}.resourceFieldRef", container_named=False)
    if source.config_map_key_ref is not None:
        count += 1
        yield from validate_key_ref(source.config_map_key_ref, f"{at}.configMapKeyRef")
    if source.secret_key_ref is not None:
        count += 1
        yield from validate_key_ref(source.secret_key_ref, f"{at}.secretKeyRef")
    if source.file_key_ref is not None:
        count += 1
        yield from validate_file_key(source.file_key_ref, f"{at}.fileKeyRef")
    if count == 0:
        yield invalid_value(at, "", NO_SOURCE)
    elif value:
        yield invalid_value(at, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield invalid_value(at, "", TWO_SOURCES)


def validate_file_key(ref: FileKeySelector, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.key", ref.key, names.relaxed_env_var_name)
    yield from named(f"{at}.volumeName", ref.volume_name, names.dns1123_label)
    if not ref.path:
        yield required(f"{at}.path")
    else:
        yield from projected_path(f"{at}.path", ref.path)


def validate_key_ref(ref: Any, at: str) -> Iterator[FieldError]:
    for wrong in names.dns1123_subdomain(ref.name or ""):
        yield invalid_value(f"{at}.name", ref.name or "", wrong)
    yield from named(f"{at}.key", ref.key, names.config_key)


def validate_env_from(sources: tuple[EnvFromSource, ...], at: str) -> Iterator[FieldError]:
    for index, source in enumerate(sources):
        here = f"{at}[{index}]"
        if source.prefix:
            for wrong in names.relaxed_env_var_name(source.prefix):
                yield invalid_value(f"{here}.prefix", source.prefix, wrong)
        count = 0
        for field, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
            if ref is not None:
                count += 1
                if not ref.name:
                    yield required(f"{here}.{field}.name")
                else:
                    for wrong in names.dns1123_subdomain(completed(ref.name)):
                        yield invalid_value(f"{here}.{field}.name", ref.name, wrong)
        if count == 0:
            yield invalid_value(at, "", "must specify one of: `configMapRef` or `secretRef`")
        elif count > 1:
            yield invalid_value(at, "", TWO_SOURCES)
