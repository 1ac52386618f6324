"""A paused pod: its processes are frozen where they are, nobody probes them, and it is not ready, until it is thawed."""

from dataclasses import replace

from kybern.api.core_v1 import Pod
from kybern.kubelet.memory import NO_RESULTS, ProbeResults
from kybern.kubelet.observed import Observed
from kybern.kubelet.parts import Parts
from kybern.kubelet.probes.prober import Prober
from kybern.kubelet.resources import pod_cgroup


class Pausing:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.frozen: bool | None = None
        """None: as a kubelet before this one left it."""
        self.before: dict[str, ProbeResults] = {}

    def enforce(self, pod: Pod, observed: Observed, prober: Prober, *, paused: bool) -> None:
        """Nothing happens where it is so already. A pod whose cgroup is not made yet, or is gone, has nothing to freeze."""
        if self.frozen is paused:
            return
        if paused:
            prober.stop()
        try:
            self.parts.cgroups.freeze(pod_cgroup(pod, self.parts.config.cgroup_root), on=paused)
        except FileNotFoundError:
            return
        if paused:
            self.before = dict(prober.results)
            for container in observed.running:
                known = prober.results.get(container.id, NO_RESULTS)
                prober.results[container.id] = replace(known, readiness=False)
            self.parts.recorder.event(pod, "Normal", "Paused", "The pod is frozen")
        elif self.frozen:
            prober.results.clear()
            prober.results.update(self.before)
            self.parts.recorder.event(pod, "Normal", "Resumed", "The pod is thawed")
        self.frozen = paused
