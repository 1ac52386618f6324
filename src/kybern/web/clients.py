"""Clients of servers that come and go: those that were spoken to lately are kept, and with them their idle connections.

Pods and nodes get new addresses all the time, so that each address ever spoken to would soon be too many.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from kybern.web.client import Client

K = TypeVar("K", bound=Hashable)


class Clients(OrderedDict[K, Client]):
    """By where they lead and whom they trust; whoever was used longest ago comes first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def kept(self, key: K, make: Callable[[], Client]) -> Client:
        client = self.get(key)
        if client is None:
            client = self[key] = make()
            if len(self) > self.most:
                self.popitem(last=False)[1].close_idle()
        self.move_to_end(key)
        return client

    def close(self) -> None:
        for client in self.values():
            client.close()
        self.clear()
