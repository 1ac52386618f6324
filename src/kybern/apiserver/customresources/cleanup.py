"""The end of a CustomResourceDefinition: its objects are deleted before it goes.

    marked, with our finalizer ──▶ every object asked to go ──▶ none is left ──▶ the finalizer is taken away

Objects that their own finalizers hold are waited for, as long as it takes; the Terminating condition tells.
"""

from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.api.meta_v1 import DeleteOptions
from kybern.apiserver.deletion import delete
from kybern.apiserver.machine import Machine
from kybern.apiserver.objects import ClusterObjects, writing
from kybern.apiserver.storage import Storage
from kybern.registry.customresources.conditions import with_condition
from kybern.registry.customresources.definition import CLEANUP
from kybern.registry.parts import changed

LOOK_SECONDS = 0.5
GONE_ALREADY = (NotFound, Conflict)

Said = tuple[str, str, str]
IN_PROGRESS: Said = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
COMPLETED: Said = ("False", "InstanceDeletionCompleted", "removed all instances")
NEVER: Said = ("False", "NeverEstablished", "resource was never established")


class Cleanup:
    def __init__(self, machine: Machine, objects: ClusterObjects, name: str, storage: Storage | None) -> None:
        """`storage`: of the version that objects are stored in; None where the kind was never served."""
        self.machine, self.objects, self.name, self.storage = machine, objects, name, storage

    async def run(self) -> None:
        """Returns when the definition has lost our finalizer."""
        if await self.tell(IN_PROGRESS) is None:
            return
        said = COMPLETED if self.storage is not None else NEVER
        while self.storage is not None and self.storage.cache.items:
            problem = await self.delete_all(self.storage)
            if problem:
                await self.tell(("True", "InstanceDeletionFailed", f"could not issue all deletes: {problem}"))
            await self.machine.clock.sleep(LOOK_SECONDS)
        while (definition := await self.tell(said)) is not None:
            finalizers = tuple(name for name in definition.metadata.finalizers or () if name != CLEANUP)
            released = changed(definition.metadata, finalizers=finalizers or None)
            try:
                await self.objects.update(changed(definition, metadata=released))
                return
            except GONE_ALREADY:
                continue

    async def delete_all(self, storage: Storage) -> str:
        """Ask every object to go; what the first refusal says."""
        problem = ""
        for item in tuple(storage.cache.items.values()):
            try:
                await delete(self.machine, storage, item.namespace, item.name, DeleteOptions(), writing())
            except GONE_ALREADY:
                continue
            except ApiError as error:
                problem = problem or error.message
        return problem

    async def tell(self, said: Said) -> CustomResourceDefinition | None:
        """The definition with this condition; None where it, or our finalizer, is gone."""
        while True:
            definition = self.objects.get(CustomResourceDefinition, self.name)
            if definition is None or CLEANUP not in (definition.metadata.finalizers or ()):
                return None
            conditions = with_condition(
                definition.status.conditions or (), "Terminating", *said, now=self.machine.now()
            )
            if conditions == definition.status.conditions:
                return definition
            try:
                return await self.objects.update_status(
                    changed(definition, status=changed(definition.status, conditions=conditions))
                )
            except GONE_ALREADY:
                continue
