"""Everything the API server knows about each resource, one file each. Rules only: no I/O, no clock, no chance."""

from kybern.registry.resources import RESOURCES

__all__ = ["RESOURCES"]
