"""Whether this node takes a pod that is bound to it: judged once, when it comes, and what it is granted is taken then.

A critical pod for which there is no room is taken nevertheless where less important ones can end for it: they are told to,
and it starts when they have.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import ApiError
from kybern.kubelet.admission import NODE_AFFINITY, lacking, refuse
from kybern.kubelet.enforceable import refuse_unenforceable
from kybern.kubelet.eviction.ranking import is_critical
from kybern.kubelet.parts import Parts
from kybern.kubelet.preemption import PREEMPTED, victims
from kybern.kubelet.sandbox_config import grace_of
from kybern.kubelet.shutting_down import REFUSED
from kybern.kubelet.status import Verdict
from kybern.kubelet.worker import PodWorker

ROOM_SECONDS = 30.0  # more than its grace period, that a critical pod waits for one that makes room

log = logging.getLogger(__name__)


class Admitting:
    def __init__(
        self,
        parts: Parts,
        workers: Mapping[str, PodWorker],
        active_pods: Callable[[], Sequence[Pod]],
        granted: Callable[[], None],
    ) -> None:
        """`granted` is called when a pod may have taken CPUs of the others."""
        self.parts, self.workers, self.active_pods, self.granted = parts, workers, active_pods, granted
        self.making_room: dict[str, list[PodWorker]] = {}
        """By critical pod: whose end it waits for."""

    def judge(self, pod: Pod, node: Node | None) -> Verdict | None:
        """Why not. A pod that has been here before is not judged again."""
        known = self.parts.pleg.of(pod.metadata.uid or "")
        if known.sandboxes or pod.status.start_time or pod.metadata.deletion_timestamp or node is None:
            return None
        return self._judge(pod, node)

    async def confirm(self, worker: PodWorker) -> None:
        """A pod is refused for the node's labels only after another look at them: it may be here sooner than they are."""
        if worker.refused is NODE_AFFINITY:
            try:
                node = await self.parts.client.get(Node, self.parts.config.node_name)
            except ApiError as error:
                log.info("the node's labels could not be read again: %s", error.message)
            else:
                worker.refused = self._judge(worker.pod, node)
        if worker.refused is not None:
            self.parts.recorder.event(worker.pod, "Warning", worker.refused.reason, worker.refused.message)

    async def room_for(self, worker: PodWorker) -> None:
        """Once those that were told to end for it have."""
        for victim in self.making_room.pop(worker.uid, ()):
            await victim.until_over(grace_of(victim.pod) + ROOM_SECONDS)

    def _judge(self, pod: Pod, node: Node) -> Verdict | None:
        parts = self.parts
        if parts.node.shutting_down:
            return REFUSED
        verdict = refuse_unenforceable(pod, parts.config.unsafe_sysctls, parts.node.apparmor) or refuse(
            pod, node, self.active_pods(), parts.node.pressures
        )
        if verdict is not None and not (verdict.reason.startswith("OutOf") and self._make_room(pod, node)):
            return verdict
        self.granted()
        return parts.alignment.admit(pod)  # last, since it takes what it grants

    def _make_room(self, pod: Pod, node: Node) -> bool:
        """Whether less important pods end for it."""
        active = self.active_pods()
        chosen = victims(pod, active, lacking(pod, node, active)) if is_critical(pod) else None
        if chosen is None:
            return False
        self.making_room[pod.metadata.uid or ""] = ending = [self.workers[p.metadata.uid or ""] for p in chosen]
        for worker in ending:
            self.parts.recorder.event(worker.pod, "Warning", PREEMPTED.reason, PREEMPTED.message)
            worker.evict(PREEMPTED, float("inf"))
        return True
