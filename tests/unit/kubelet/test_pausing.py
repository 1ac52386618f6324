"""A paused pod is frozen, not ready and left alone by its probes; it is thawed when it may go on, and before it ends."""

from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Container, ExecAction, Pod, PodSpec, Probe, ResourceRequirements
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.kubelet.admission import of_all
from kybern.kubelet.parts import NoCgroups
from kybern.reconcile.pausing import PAUSED
from kybern.runtime.cri import ExecResult
from kybern.runtime.simulated import Simulated


class Noted(NoCgroups):
    def __init__(self) -> None:
        self.frozen: list[bool] = []

    def freeze(self, path: str, *, on: bool) -> None:
        assert path.endswith("poduid-web-1")
        self.frozen.append(on)


def test_a_pod_is_frozen_and_thawed_and_no_probe_kills_it_meanwhile(lab: Any) -> None:
    async def scenario() -> None:
        alive = [True]
        runtime = Simulated(
            LoopClock(), execute=lambda c, cmd: ExecResult(stdout=b"", stderr=b"", exit_code=0 if alive[0] else 1)
        )
        probe = Probe(exec=ExecAction(command=("check",)), period_seconds=1, failure_threshold=2)
        noted = Noted()
        async with lab.cluster(runtime=runtime, cgroups=noted) as cluster:
            cluster.api.bind(lab.pod("web-1", Container(name="web", image="web:1", liveness_probe=probe)))
            await cluster.phase("web-1", "Running")

            def annotate(**told: str) -> None:
                pod = to_builtins(cluster.api.pod("web-1"))
                pod["metadata"]["annotations"] = told
                cluster.api.put("/api/v1/namespaces/default/pods/web-1", pod)

            def ready() -> bool:
                return bool(cluster.api.pod("web-1").status.container_statuses[0].ready)

            await cluster.until(ready)
            noted.frozen.clear()
            annotate(**{PAUSED: "true"})
            await cluster.until(lambda: not ready())
            alive[0] = False  # what is frozen answers nobody
            loop = LoopClock()
            await loop.sleep(60)
            assert noted.frozen == [True]
            alive[0] = True
            annotate()
            await cluster.until(ready)
            assert noted.frozen == [True, False]
            assert cluster.api.pod("web-1").status.container_statuses[0].restart_count == 0
            annotate(**{PAUSED: "true"})
            await cluster.until(lambda: not ready())
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1")
            await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            assert noted.frozen == [True, False, True, False]
            await cluster.kubelet.parts.recorder.flush()
            assert {"Paused", "Resumed"} <= {reason for reason, _ in cluster.api.events()}

    lab.simulate(scenario)


def test_a_frozen_pod_takes_no_processors_but_all_its_memory() -> None:
    asked = ResourceRequirements(requests={"cpu": Quantity("3"), "memory": Quantity("6Gi")})
    one = Pod(
        metadata=ObjectMeta(name="a"), spec=PodSpec(containers=(Container(name="c", image="i", resources=asked),))
    )
    frozen = replace(one, metadata=replace(one.metadata, annotations={PAUSED: "true"}))
    assert of_all([one])["cpu"] == 3000 and "cpu" not in of_all([frozen])
    assert of_all([one])["memory"] == of_all([frozen])["memory"]
