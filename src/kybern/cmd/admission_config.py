"""AdmissionConfiguration: what admission plugins are told besides being on.

Most are told as the file says it; the one that asks another server about images is given the way to it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.api import yaml
from kybern.apiserver.admission.image_policy import ImagePolicy, ImagePolicyWebhook
from kybern.apiserver.admission.order import CONFIGURED
from kybern.cmd.remote import remote
from kybern.cmd.server_options import ServerOptions, words

ALLOW_SECONDS, DENY_SECONDS, BACKOFF_SECONDS = 300.0, 30.0, 0.5
TTL_SECONDS = (1.0, 1800.0)
BACKOFFS_SECONDS = (0.001, 300.0)


def configuration(options: ServerOptions) -> Mapping[str, Any]:
    """By the plugins' names. ValueError where the file, or what it says to a plugin, makes no sense."""
    found: dict[str, Any] = {}
    if options.admission_control_config_file:
        found = read_configuration(Path(options.admission_control_config_file))
    if ImagePolicyWebhook.name in words(options.enable_admission_plugins) and ImagePolicyWebhook.name not in found:
        raise ValueError("ImagePolicyWebhook needs a server to ask: --admission-control-config-file names it")
    return found


def read_configuration(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for plugin in parsed(path).get("plugins") or ():
        name, named = str(plugin.get("name")), plugin.get("path")
        told = parsed(path.parent / named) if named else plugin.get("configuration") or {}
        try:
            found[name] = understood(name, told, path.parent)
        except (ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{path}: {name}: {error}") from None
    return found


def understood(name: str, told: Any, folder: Path) -> Any:
    """What the plugin is told. ValueError, or msgspec's, where it makes no sense."""
    if name == ImagePolicyWebhook.name:
        return image_policy(msgspec.convert(told.get("imagePolicy"), ImagePolicyFile), folder)
    if name not in CONFIGURED:
        raise ValueError("the plugin takes no configuration")
    CONFIGURED[name](told)
    return told


class ImagePolicyFile(Struct, frozen=True, rename="camel"):
    """`imagePolicy` in upstream's configuration: seconds, milliseconds for the back-off; -1 is none, 0 the usual."""

    kube_config_file: str
    allow_ttl: int = field(default=0, name="allowTTL")
    deny_ttl: int = field(default=0, name="denyTTL")
    retry_backoff: int = 0
    default_allow: bool = False


def image_policy(found: ImagePolicyFile, folder: Path) -> ImagePolicy:
    client, path = remote(folder / found.kube_config_file)
    return ImagePolicy(
        client=client,
        path=path,
        allowed_seconds=within("allow cache", found.allow_ttl, ALLOW_SECONDS, TTL_SECONDS),
        refused_seconds=within("deny cache", found.deny_ttl, DENY_SECONDS, TTL_SECONDS),
        backoff_seconds=within("backoff", found.retry_backoff / 1000, BACKOFF_SECONDS, BACKOFFS_SECONDS),
        default_allow=found.default_allow,
    )


def within(what: str, seconds: float, usual: float, allowed: tuple[float, float]) -> float:
    """ValueError where it is none of those allowed."""
    if seconds < 0:
        return 0.0
    if seconds and not allowed[0] <= seconds <= allowed[1]:
        raise ValueError(f"valid value is between {allowed[0]:g}s and {allowed[1]:g}s, got {what} {seconds:g}s")
    return seconds or usual


def parsed(path: Path) -> dict[str, Any]:
    value = yaml.parse(path.read_bytes())[0]
    if not isinstance(value, dict):
        raise ValueError(f"{path}: no configuration")
    return value
