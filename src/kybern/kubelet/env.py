"""The environment of a container: service variables, then `envFrom`, then `env`, each overriding the ones before.

A reference that does not resolve and is not optional is a `ConfigFault`; the container then waits for
CreateContainerConfigError until it does.
"""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

from kybern.api.core_v1 import (
    ConfigMap,
    ConfigMapKeySelector,
    Container,
    EnvFromSource,
    EnvVar,
    EphemeralContainer,
    Pod,
    Secret,
    SecretKeySelector,
)
from kybern.kubelet.env_files import ConfigFault, file_key
from kybern.kubelet.expansion import expand
from kybern.volumes.downward import Facts, FieldUnknown, field_text, resource_text


@dataclass(frozen=True, slots=True)
class References:
    """The objects that a container's environment refers to, by name; absent where there is none."""

    config_maps: Mapping[str, ConfigMap]
    secrets: Mapping[str, Secret]
    files: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By volume and path."""


def referenced(container: Container | EphemeralContainer) -> tuple[set[str], set[str]]:
    """The names of the ConfigMaps and of the Secrets that its environment needs."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for source in container.env_from or ():
        if source.config_map_ref:
            config_maps.add(source.config_map_ref.name or "")
        if source.secret_ref:
            secrets.add(source.secret_ref.name or "")
    for variable in container.env or ():
        if variable.value_from and variable.value_from.config_map_key_ref:
            config_maps.add(variable.value_from.config_map_key_ref.name or "")
        if variable.value_from and variable.value_from.secret_key_ref:
            secrets.add(variable.value_from.secret_key_ref.name or "")
    return config_maps, secrets


def environment(
    pod: Pod,
    container: Container | EphemeralContainer,
    references: References,
    facts: Facts,
    services: Mapping[str, str],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.env_from or ():
        found |= _from_source(pod, source, references)
    for variable in container.env or ():
        text = _value(pod, container, variable, references, facts, {**services, **found})
        if text is not None:
            found[variable.name] = text
    return {**services, **found}


def _from_source(pod: Pod, source: EnvFromSource, references: References) -> dict[str, str]:
    prefix = source.prefix or ""
    if source.config_map_ref:
        name = source.config_map_ref.name or ""
        found = references.config_maps.get(name)
        if found is None and not source.config_map_ref.optional:
            raise ConfigFault(f'configmap "{name}" not found')
        return {prefix + key: text for key, text in ((found.data if found else None) or {}).items() if _is_name(key)}
    if source.secret_ref:
        name = source.secret_ref.name or ""
        secret = references.secrets.get(name)
        if secret is None and not source.secret_ref.optional:
            raise ConfigFault(f'secret "{name}" not found')
        data = (secret.data if secret else None) or {}
        return {prefix + key: _decoded(text) for key, text in data.items() if _is_name(key)}
    return {}


def _is_name(key: str) -> bool:
    return bool(key) and "=" not in key and key.isprintable()


def _decoded(text: str) -> str:
    return b64decode(text).decode(errors="surrogateescape")


def _value(
    pod: Pod,
    container: Container | EphemeralContainer,
    variable: EnvVar,
    references: References,
    facts: Facts,
    known: Mapping[str, str],
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value or "", known)
    try:
        if source.field_ref:
            return field_text(pod, source.field_ref, facts)
        if source.resource_field_ref:
            return resource_text(pod, source.resource_field_ref, facts, container.name)
    except FieldUnknown as unknown:
        raise ConfigFault(str(unknown)) from unknown
    if source.config_map_key_ref:
        return _config_map_key(pod, source.config_map_key_ref, references)
    if source.secret_key_ref:
        return _secret_key(pod, source.secret_key_ref, references)
    if source.file_key_ref:
        return file_key(source.file_key_ref, references.files)
    raise ConfigFault(f"environment variable {variable.name} has a source that this node does not know")


def _config_map_key(pod: Pod, selector: ConfigMapKeySelector, references: References) -> str | None:
    name = selector.name or ""
    found = references.config_maps.get(name)
    if found is None:
        if selector.optional:
            return None
        raise ConfigFault(f'configmap "{name}" not found')
    text = (found.data or {}).get(selector.key)
    if text is None and not selector.optional:
        raise ConfigFault(f"couldn't find key {selector.key} in ConfigMap {pod.metadata.namespace}/{name}")
    return text


def _secret_key(pod: Pod, selector: SecretKeySelector, references: References) -> str | None:
    name = selector.name or ""
    found = references.secrets.get(name)
    if found is None:
        if selector.optional:
            return None
        raise ConfigFault(f'secret "{name}" not found')
    text = (found.data or {}).get(selector.key)
    if text is None:
        if selector.optional:
            return None
        raise ConfigFault(f"couldn't find key {selector.key} in Secret {pod.metadata.namespace}/{name}")
    return _decoded(text)
