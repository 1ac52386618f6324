"""The kubelet: a worker for every pod that is bound to this node or still runs on it.

    kubelet = Kubelet(client=..., view=..., runtime=..., volumes=..., recorder=..., clock=..., ids=..., config=...)
    await kubelet.run()

- `view` must follow Pods of this node (`fields="spec.nodeName=<node>"`), Services, and run.
- Nothing is kept but in the API and in the runtime: a kubelet that starts finds its pods' containers running and leaves
  them so. What the runtime holds of pods that the API does not know is stopped and removed.
"""

import asyncio
import logging
from collections.abc import Mapping

from msgspec.structs import replace

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Container, Pod, PodSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.numbers import integer
from kybern.client import Client, View
from kybern.client.events import Recorder
from kybern.kubelet.admitting import Admitting
from kybern.kubelet.allocation import resize_order
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.credential_providers import CredentialProviders
from kybern.kubelet.devices.claims import Claims
from kybern.kubelet.devices.gate import Gate
from kybern.kubelet.devices.inventory import Inventory
from kybern.kubelet.devices.monitored import allocatable_told, pods_told
from kybern.kubelet.eviction.thresholds import Observation
from kybern.kubelet.eviction.watch import Eviction
from kybern.kubelet.files import read_text
from kybern.kubelet.image_collection import ImageCollection
from kybern.kubelet.images import Images
from kybern.kubelet.lifecycle import Stage
from kybern.kubelet.log_rotation import rotate_logs
from kybern.kubelet.machine import apparmor_enabled, observe_machine
from kybern.kubelet.manifests import is_mirror, is_static
from kybern.kubelet.names import parse_resolv_conf
from kybern.kubelet.node import NodeReporter
from kybern.kubelet.observed import GRACE_PERIOD, Observed
from kybern.kubelet.parts import NoCgroups, NodeFacts, Parts, PodCgroups, Volumes
from kybern.kubelet.phase import TERMINAL
from kybern.kubelet.pleg import Pleg
from kybern.kubelet.pull_records import PullRecords
from kybern.kubelet.qos_cgroups import QosCgroups
from kybern.kubelet.refreshing import refresh_volumes
from kybern.kubelet.shutting_down import shut_down
from kybern.kubelet.static_pods import StaticPods
from kybern.kubelet.status import Verdict
from kybern.kubelet.system_oom import tell_of_kills
from kybern.kubelet.topology.cpusets import Cpusets
from kybern.kubelet.topology.givers import givers_of
from kybern.kubelet.topology.machine import Machine, read_machine
from kybern.kubelet.worker import PodWorker
from kybern.runtime.cri import Runtime
from kybern.runtime.disk_usage import DiskUsage
from kybern.volumes.objects import Objects

SURPRISE_BACKOFF = Backoff(first_seconds=1.0, max_seconds=60.0)

log = logging.getLogger(__name__)


class Kubelet:
    def __init__(
        self,
        *,
        client: Client,
        view: View,
        runtime: Runtime,
        volumes: Volumes,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
        config: KubeletConfig,
        objects: Objects | None = None,
        cgroups: PodCgroups | None = None,
        simulated: bool = False,
    ) -> None:
        """`simulated`: pods have no files on this machine."""
        self.config, self.view, self.clock = config, view, clock
        self.workers: dict[str, PodWorker] = {}
        self.new: asyncio.Queue[PodWorker] = asyncio.Queue()  # one entry for each pod of the node
        inventory = Inventory("" if simulated else f"{config.plugins_directory}/devices.json")
        gate = Gate(
            config.plugins_directory,
            inventory,
            clock,
            self._device_changed,
            lambda: pods_told(self.parts, [worker.pod for worker in self.workers.values()]),
            lambda: allocatable_told(self.parts),
        )
        givers = givers_of(config, Machine() if simulated else read_machine(), inventory)
        objects = objects or Objects(client, clock)
        self.parts = Parts(
            client=client,
            view=view,
            runtime=runtime,
            volumes=volumes,
            objects=objects,
            cgroups=cgroups or NoCgroups(),
            images=Images(
                runtime,
                recorder,
                clock,
                self.notify,
                CredentialProviders(config.credential_providers, config.credential_programs_directory, clock),
                PullRecords("" if simulated else config.data_directory, config.pull_policy),
            ),
            pleg=Pleg(runtime, clock, self.notify),
            recorder=recorder,
            clock=clock,
            ids=ids,
            config=config,
            node=NodeFacts(
                dns=parse_resolv_conf(read_text(config.resolv_conf)),
                hosts=read_text(config.hosts_file),
                on_disk=not simulated,
                apparmor=apparmor_enabled(),
            ),
            cpus=givers.cpus,
            memory=givers.memory,
            devices=inventory,
            alignment=givers.alignment,
            gate=gate,
            claims=Claims(config.pods_directory, objects, gate.drive),
            disk=DiskUsage(),
            others=self.others,
            room_made=self.room_made,
        )
        self.node = NodeReporter(self.parts, self.active_pods)
        self.static = StaticPods(self.parts, self.workers, self._add_static, self.node)
        self.cpusets = Cpusets(self.parts)
        self.admitting = Admitting(self.parts, self.workers, self.active_pods, self.cpusets.news.set)
        self.qos = QosCgroups(self.parts, self.active_pods, self.node.capacity)
        self.images = ImageCollection(self.parts)
        self.eviction = Eviction(self.parts, self.workers, self.images, self._observe)
        self.ready = asyncio.Event()
        """The pods of this node are known, and each has its worker."""

    def _observe(self) -> Mapping[str, Observation]:
        return {**observe_machine(self.config.data_directory), **self.qos.observe()}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.node.run())
            tasks.create_task(self.parts.images.run())
            following = tasks.create_task(self.parts.pleg.run())
            await self.parts.pleg.listed.wait()
            tending = tasks.create_task(self._tend(tasks))
            self.static.look()  # these wait for no API, and are nobody's orphans
            tasks.create_task(self.static.run())
            await self.view.synced()
            self.view.on_change(Pod, self._pod_changed)
            self._adopt_orphans()
            self.parts.alignment.keep_only(self.workers)
            self.ready.set()
            tasks.create_task(self.images.run())
            if self.parts.node.on_disk:
                tasks.create_task(refresh_volumes(self.parts, self.workers))
                tasks.create_task(self.qos.run())
                tasks.create_task(self.cpusets.run())
                tasks.create_task(self.parts.gate.run())
                tasks.create_task(self.eviction.run())
                if self.config.kernel_log:
                    tasks.create_task(tell_of_kills(self.config.kernel_log, self.parts.tell_of_node))
            tasks.create_task(rotate_logs(self.parts))
            await following
            tending.cancel()

    async def _tend(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            worker = await self.new.get()
            tasks.create_task(self._keep(worker))

    async def _keep(self, worker: PodWorker) -> None:
        """A worker until its pod is gone. A fault nobody thought of costs one pod some time, never the node."""
        failures = 0
        await self.admitting.confirm(worker)
        await self.admitting.room_for(worker)
        while True:
            try:
                await worker.run()
                break
            except Exception:
                failures += 1
                log.exception("the worker of pod %s failed", worker.uid)
                await self.clock.sleep(SURPRISE_BACKOFF.delay(failures))
                worker = self.workers[worker.uid] = self._successor(worker)
        if self.workers.get(worker.uid) is worker:
            del self.workers[worker.uid]
        if is_static(worker.pod):
            self.static.look()  # another of its name may have waited

    def _successor(self, worker: PodWorker) -> PodWorker:
        pod = replace(worker.pod, status=worker.writer.written)
        return PodWorker(self.parts, pod, worker.refused, worker.gone)

    # News.

    def notify(self, uid: str) -> None:
        """Something of this pod changed in the runtime."""
        worker = self.workers.get(uid)
        if worker is not None:
            worker.notify()
        elif self.parts.pleg.of(uid).containers and self.ready.is_set():
            self._adopt(uid, self.parts.pleg.of(uid))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if is_mirror(old) or is_mirror(new):
            self.static.mirror_changed(new)
            return
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            worker = self.workers.get(old.metadata.uid or "")
            if worker is not None:
                worker.remove()
        if new is None or new.spec.node_name != self.config.node_name:
            return
        worker = self.workers.get(new.metadata.uid or "")
        if worker is None:
            self._add(PodWorker(self.parts, new, self._refuse(new)))
        else:
            worker.update(new)

    def _add_static(self, pod: Pod) -> None:
        self._add(PodWorker(self.parts, pod, self._refuse(pod)))

    def _add(self, worker: PodWorker) -> None:
        self.workers[worker.uid] = worker
        self.qos.news.set()
        self.new.put_nowait(worker)

    def _refuse(self, pod: Pod) -> Verdict | None:
        return self.admitting.judge(pod, self.node.node)

    async def shut_down(self) -> None:
        """In good order, before `run` is cancelled."""
        await shut_down(self.parts, self.workers)

    def _device_changed(self, resource: str) -> None:
        self.parts.node.news.set()
        for uid in self.parts.devices.users_of(resource):
            if uid in self.workers:
                self.workers[uid].notify()

    def active_pods(self) -> list[Pod]:
        """The pods that use something of the node. Of one that was deleted by force only what is left is being stopped: its
        place was free for others as soon as the API did not know it."""
        return [
            worker.allocated
            for worker in self.workers.values()
            if worker.stage in (Stage.SYNCING, Stage.TERMINATING)
            and worker.refused is None
            and not worker.gone
            and (worker.pod.status.phase or "") not in TERMINAL
        ]

    def others(self, uid: str) -> list[Pod]:
        return [pod for pod in self.active_pods() if pod.metadata.uid != uid]

    def room_made(self) -> None:
        """Those whose resize waits for room look again, the most important first."""
        self.qos.news.set()
        self.cpusets.news.set()
        waiting = [worker for worker in self.workers.values() if worker.resizing.pending is not None]
        for worker in sorted(waiting, key=lambda w: resize_order(w.pod, w.resizing.pending_since)):
            worker.notify()

    # What nobody asks for any more.

    def _adopt_orphans(self) -> None:
        """What the runtime or the disk holds of pods that are not in the API."""
        observed = self.parts.pleg.every()
        for uid in observed.keys() | set(self.parts.volumes.known_pods()):
            if uid not in self.workers:
                self._adopt(uid, observed.get(uid, Observed()))

    def _adopt(self, uid: str, observed: Observed) -> None:
        self._add(PodWorker(self.parts, stand_in(uid, observed), orphaned=True))


def stand_in(uid: str, observed: Observed) -> Pod:
    """As much of a pod as its sandbox and containers tell, enough to stop it gracefully."""
    sandbox = observed.sandbox
    annotations = observed.containers[0].annotations if observed.containers else {}
    grace = integer(annotations.get(GRACE_PERIOD))
    names = dict.fromkeys(status.metadata.name for status in observed.containers)
    meta = sandbox.config.metadata if sandbox else None
    return Pod(
        metadata=ObjectMeta(
            name=(meta and meta.name) or "unknown", namespace=(meta and meta.namespace) or "unknown", uid=uid
        ),
        spec=PodSpec(
            containers=tuple(Container(name=name) for name in names),
            termination_grace_period_seconds=grace,
        ),
    )
