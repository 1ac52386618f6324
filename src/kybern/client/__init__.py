"""The Kubernetes API from the client's side: typed calls, a cached View kept by list and watch, leases, events.

The names below are imported when they are first asked for: the command line needs `kubeconfig` at once, and no types.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kybern.client.client import Client, WatchEvent, Write
    from kybern.client.transport import InMemory, Transport
    from kybern.client.view import View

__all__ = ["Client", "InMemory", "Transport", "View", "WatchEvent", "Write"]

HOME = {"Client": "client", "WatchEvent": "client", "Write": "client", "View": "view"}
HOME |= {"InMemory": "transport", "Transport": "transport"}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOME[name]}"), name)
