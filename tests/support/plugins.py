"""An admission plugin by itself: built over a few objects, and asked about one write."""

from random import Random
from typing import Any

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.kinds import KINDS
from kybern.apiserver.admission.order import NAMES
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.rbac import Rbac
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.request import Admission, Attributes, Decision, User
from kybern.registry.resource import Resource
from kybern.testing.memory_objects import MemoryObjects

RESOURCES = {kind.type: Resource(kind=kind) for kind in KINDS}


class Served(MemoryObjects):
    def resources(self) -> Any:
        return RESOURCES.values()


class Clock(SystemClock):
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Only:
    """Allows these."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def decide(self, a: Attributes) -> Decision:
        what = "/".join(part for part in (a.resource, a.subresource) if part)
        return Decision(f"{a.verb} {what} {a.namespace}/{a.name}" in self.allowed)


def plugin(name: str, *objects: Any, authorizer: Any = None, clock: Any = None, configuration: Any = None) -> Plugin:
    return NAMES[name](inputs(*objects, authorizer=authorizer, clock=clock, configuration=configuration))


def inputs(*objects: Any, authorizer: Any = None, clock: Any = None, configuration: Any = None) -> Inputs:
    served = Served(*objects)
    return Inputs(
        objects=served, authorizer=Authorizers((authorizer or Only(),)), rbac=Rbac(), clock=clock or Clock(), ids=Ids(1),
        callouts=Callouts(served, Random(1)), configuration=configuration or {},
    )  # fmt: skip


def asked(new: Any, old: Any = None, user: str = "jane", sub: str = "") -> Admission:
    return Admission(
        user=User(user), operation="UPDATE" if old is not None else "CREATE", resource=RESOURCES[type(new)],
        subresource=sub, namespace="x", name=new.metadata.name, object=new, old=old, dry_run=False,
    )  # fmt: skip
