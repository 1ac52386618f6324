"""TaintNodesByCondition: a new node takes no pods until it has said that it is ready."""

from msgspec.structs import replace

from kybern.api.core_v1 import Node, Taint
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.request import Admission

NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")


class TaintNodesByCondition(Plugin):
    name = "TaintNodesByCondition"
    kinds = (Node,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Node, "CREATE"):
            return
        node: Node = admission.object
        taints = node.spec.taints or ()
        if not any((taint.key, taint.effect) == (NOT_READY.key, NOT_READY.effect) for taint in taints):
            admission.object = replace(node, spec=replace(node.spec, taints=(*taints, NOT_READY)))
