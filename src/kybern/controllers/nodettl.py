"""ttl: how long a kubelet may rely on a Secret or ConfigMap that it has read, told by an annotation of its Node.

The more nodes there are, the seldomer each should ask. The steps overlap, so that a cluster at the edge of one does not
go to and fro. Simulated nodes read nothing and are left alone: writing to thousands of them would tell nobody anything.
"""

from kybern.api.core_v1 import Node
from kybern.client import Client, View
from kybern.reconcile import Context, Controller

TTL = "node.alpha.kubernetes.io/ttl"
SIMULATED = "kybern.io/simulated"
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 1 << 31, 300))
"""From how many nodes down and up to how many a step holds, and its seconds: upstream's."""


def step_for(nodes: int, step: int) -> int:
    """The step of a cluster of this size that was at `step` before."""
    while nodes > STEPS[step][1]:
        step += 1
    while nodes < STEPS[step][0]:
        step -= 1
    return step


def node_ttl() -> Controller[Node]:
    step = 0

    async def reconcile(node: Node, view: View, client: Client, context: Context) -> None:
        nonlocal step
        step = step_for(len(view.list(Node)), step)
        seconds = str(STEPS[step][2])
        if (node.metadata.annotations or {}).get(TTL) != seconds:
            told = {"metadata": {"uid": node.metadata.uid, "annotations": {TTL: seconds}}}
            await client.patch(Node, node.metadata.name or "", "", told, how="strategic")

    return Controller(name="ttl", reconciles=Node, concerns=is_real, by=reconcile)


def is_real(node: Node) -> bool:
    return SIMULATED not in (node.metadata.annotations or {})
