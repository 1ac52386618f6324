"""The rules that the default scheduler goes by: all built-in plugins, as they are without a configuration file."""

from kybern.scheduler.plugins.table import profile_of

DEFAULT_PROFILE = profile_of({}, "", {}, ())
