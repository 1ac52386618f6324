"""The Kubernetes API from the client's side: typed calls, a cached View kept by list and watch, leases, events."""

from kybern.client.client import Client, WatchEvent, Write
from kybern.client.transport import InMemory, Transport
from kybern.client.view import View

__all__ = ["Client", "InMemory", "Transport", "View", "WatchEvent", "Write"]
