"""Objects that a scheduler's plugins can look up, and nodes to schedule onto."""

from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node
from kybern.client.cache import controller_uid
from kybern.scheduler.claims import Nothing

ZONE = "topology.kubernetes.io/zone"


class Known(Nothing):
    def __init__(self, *objects: Any) -> None:
        self.objects = {(type(o), o.metadata.namespace or "", o.metadata.name): o for o in objects}

    def get(self, of: Any, name: str, namespace: str = "") -> Any:
        return self.objects.get((of, namespace, name))

    def list(self, of: Any, namespace: str | None = None) -> Any:
        return [found for (kind, _, _), found in self.objects.items() if kind is of]

    def owned_by(self, owner: Any, of: Any) -> Any:
        return [found for found in self.list(of) if controller_uid(found) == owner.metadata.uid]


def node(name: str, zone: str = "") -> Node:
    labels = {"kubernetes.io/hostname": name, **({ZONE: zone} if zone else {})}
    status = {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"}}
    return from_builtins(Node, {"metadata": {"name": name, "labels": labels}, "status": status})
