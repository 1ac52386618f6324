"""Static pods: started and stopped as their files come and go, and shown in the API by mirror pods.

The API decides nothing about them: a mirror that somebody deletes is made again, and what happens to the pod is
written to whatever mirror there is.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Pod, PodStatus
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.kubelet.manifests import MIRROR, SEEN, Manifests, is_mirror, is_static, manifest_files, read_manifests
from kybern.kubelet.node import NodeReporter
from kybern.kubelet.parts import Parts
from kybern.kubelet.worker import PodWorker
from kybern.linux.directory_news import DirectoryNews

LOOK_SECONDS = 20.0  # besides, as upstream; files that come, change or go are told of
MIRROR_SECONDS = 10.0  # between two attempts at mirrors that could not be written

log = logging.getLogger(__name__)
Stamp = tuple[tuple[str, int, int], ...]


class StaticPods:
    def __init__(
        self,
        parts: Parts,
        workers: Mapping[str, PodWorker],
        start: Callable[[Pod], None],
        node: NodeReporter,
    ) -> None:
        self.parts, self.workers, self.start, self.node = parts, workers, start, node
        self.manifests = Manifests({}, {})
        self.stamp: Stamp = ()
        self.duplicates: frozenset[str] = frozenset()
        """By uid: told already."""
        self.news = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mirror_forever())
            if self.parts.node.on_disk:
                await self._follow_files()

    async def _follow_files(self) -> None:
        directory = self.parts.config.static_pods_directory
        os.makedirs(directory, 0o750, exist_ok=True)  # of what is not there nobody tells
        with DirectoryNews(directory) as news:
            while True:
                self.look()
                await news.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Read the files if any of them changed; start what is new, stop what is gone."""
        if not self.parts.node.on_disk:
            return
        directory = self.parts.config.static_pods_directory
        stamp = stamp_of(directory)
        if stamp != self.stamp:
            self.stamp = stamp
            self.manifests = read_manifests(directory, self.parts.config.node_name)
            for path, why in self.manifests.faults.items():
                log.error("static pod %s: %s", path, why)
            self.news.set()
        self._settle()

    def _settle(self) -> None:
        """A successor of the same name waits until its predecessor is gone; of two at once the first one runs."""
        known = {uid: worker for uid, worker in self.workers.items() if is_static(worker.pod)}
        for uid, worker in known.items():
            if uid not in self.manifests.pods and not worker.gone:
                worker.remove()
                self.news.set()
        names = {_name(worker.pod) for worker in known.values()}
        for uid, pod in self.manifests.pods.items():
            if uid not in self.workers and _name(pod) not in names:
                seen = {**(pod.metadata.annotations or {}), SEEN: rfc3339(self.parts.clock.wall())}
                self.start(replace(pod, metadata=replace(pod.metadata, annotations=seen)))
                names.add(_name(pod))
                self.news.set()
        self._tell_of_duplicates()

    def _tell_of_duplicates(self) -> None:
        pods = self.manifests.pods
        running = {_name(pod) for uid, pod in pods.items() if uid in self.workers}
        found = {uid: pod for uid, pod in pods.items() if uid not in self.workers and _name(pod) in running}
        for uid in found.keys() - self.duplicates:
            namespace, name = _name(found[uid])
            text = (
                f'Error validating pod {name}_{namespace}({uid}) from file due to duplicate pod name "{name}", ignoring'
            )
            self.parts.recorder.event(found[uid], "Warning", "FailedValidation", text)
        self.duplicates = frozenset(found)

    # Mirrors.

    def mirror_changed(self, mirror: Pod | None) -> None:
        """The View says so; None: one is gone."""
        worker = self.workers.get(_hash(mirror)) if mirror is not None else None
        if mirror is not None and worker is not None and mirror.metadata.deletion_timestamp is None:
            worker.writer.attach(mirror)
        else:
            self.news.set()

    async def _mirror_forever(self) -> None:
        await self.parts.view.synced()
        await self.node.registered.wait()  # it owns them
        while True:
            self.news.clear()
            complete = await self._mirror_all()
            try:
                async with timeout(None if complete else MIRROR_SECONDS):
                    await self.news.wait()
            except TimeoutError:
                pass

    async def _mirror_all(self) -> bool:
        """Whether every mirror is as it should be."""
        known = {_name(pod): pod for pod in self.parts.view.list(Pod) if is_mirror(pod)}
        wanted = {_name(w.pod): w for w in list(self.workers.values()) if is_static(w.pod) and not w.gone}
        complete = True
        for name in known.keys() | wanted.keys():
            try:
                complete &= await self._mirror(known.get(name), wanted.get(name))
            except ApiError as error:
                log.info("the mirror of pod %s/%s could not be written: %s", *name, error.message)
                complete = False
        return complete

    async def _mirror(self, known: Pod | None, worker: PodWorker | None) -> bool:
        if known is not None and (
            worker is None or _hash(known) != worker.uid or known.metadata.deletion_timestamp is not None
        ):
            await self._delete(known)
            known = None
        if worker is None or known is not None:
            return True
        try:
            made = await self.parts.client.create(self._mirror_of(worker.pod))
        except AlreadyExists:
            return False  # the one that goes is not gone yet, or the View has not seen ours
        worker.writer.attach(made)
        return True

    async def _delete(self, mirror: Pod) -> None:
        meta = mirror.metadata
        try:
            await self.parts.client.delete(
                Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_seconds=0
            )
        except NotFound:
            pass

    def _mirror_of(self, pod: Pod) -> Pod:
        meta, uid = pod.metadata, pod.metadata.uid or ""
        node = self.parts.config.node_name
        owner = OwnerReference(api_version="v1", kind="Node", name=node, uid=self.node.uid, controller=True)
        return Pod(
            metadata=ObjectMeta(
                name=meta.name,
                namespace=meta.namespace,
                labels=meta.labels,
                annotations={**(meta.annotations or {}), MIRROR: uid},
                owner_references=(owner,),
            ),
            spec=pod.spec,
            status=PodStatus(),
        )


def _name(pod: Pod) -> tuple[str, str]:
    return pod.metadata.namespace or "", pod.metadata.name or ""


def _hash(mirror: Pod) -> str:
    return (mirror.metadata.annotations or {}).get(MIRROR, "")


def stamp_of(directory: str) -> Stamp:
    """What changes when a file does."""
    found = []
    for path in manifest_files(directory):
        try:
            about = os.stat(path)
        except OSError:
            continue
        found.append((path, about.st_mtime_ns, about.st_size))
    return tuple(found)
