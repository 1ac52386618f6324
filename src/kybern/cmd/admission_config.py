"""AdmissionConfiguration: what admission plugins are told besides being on. One of ours takes any: EventRateLimit."""

from pathlib import Path
from typing import Any

import msgspec

from kybern.api import yaml
from kybern.apiserver.admission.event_rate_limit import TYPES
from kybern.apiserver.admission.plugin import EventLimit
from kybern.cmd.server_options import ServerOptions


def event_limits(options: ServerOptions) -> tuple[EventLimit, ...]:
    """ValueError where the file makes no sense."""
    path = Path(options.admission_control_config_file)
    if not options.admission_control_config_file:
        return ()
    configuration: Any = {}
    for plugin in parsed(path).get("plugins") or ():
        if plugin.get("name") != "EventRateLimit":
            raise ValueError(f"{path}: the plugin {plugin.get('name')!r} takes no configuration")
        named = plugin.get("path")
        configuration = parsed(path.parent / named) if named else plugin.get("configuration") or {}
    limits = msgspec.convert(configuration.get("limits") or [], tuple[EventLimit, ...])
    for limit in limits:
        if limit.type not in TYPES or limit.qps <= 0 or limit.burst <= 0:
            raise ValueError(f"{path}: a limit has a type of {', '.join(TYPES)}, and a positive qps and burst")
    return limits


def parsed(path: Path) -> dict[str, Any]:
    value = yaml.parse(path.read_bytes())[0]
    if not isinstance(value, dict):
        raise ValueError(f"{path}: no configuration")
    return value
