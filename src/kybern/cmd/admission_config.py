"""AdmissionConfiguration: what admission plugins are told besides being on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kybern.api import yaml
from kybern.apiserver.admission.order import CONFIGURED
from kybern.cmd.server_options import ServerOptions


def configuration(options: ServerOptions) -> Mapping[str, Any]:
    """By the plugins' names. ValueError where the file, or what it says to a plugin, makes no sense."""
    if not options.admission_control_config_file:
        return {}
    path = Path(options.admission_control_config_file)
    found: dict[str, Any] = {}
    for plugin in parsed(path).get("plugins") or ():
        name, named = str(plugin.get("name")), plugin.get("path")
        if name not in CONFIGURED:
            raise ValueError(f"{path}: the plugin {name!r} takes no configuration")
        told = parsed(path.parent / named) if named else plugin.get("configuration") or {}
        try:
            CONFIGURED[name](told)
        except (ValueError, msgspec.ValidationError) as error:
            raise ValueError(f"{path}: {name}: {error}") from None
        found[name] = told
    return found


def parsed(path: Path) -> dict[str, Any]:
    value = yaml.parse(path.read_bytes())[0]
    if not isinstance(value, dict):
        raise ValueError(f"{path}: no configuration")
    return value
