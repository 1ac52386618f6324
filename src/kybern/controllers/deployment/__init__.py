"""Deployment: bring the pods of a template from one version to the next, through ReplicaSets.

Every version is a ReplicaSet (`revisions`); a rollout is a sequence of small changes of their sizes (`sizes`); how it
goes is told in the status (`progress`). A pass does one step and is woken by what the step sets off.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from kybern.api.apps_v1 import Deployment, ReplicaSet
from kybern.api.core_v1 import Pod
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.client.cache import controller_uid
from kybern.controllers.deployment import progress, revisions, rollback, sizes
from kybern.controllers.deployment.sizes import REVISION, Sizes, name_of, size_of
from kybern.reconcile import After, Context, Controller, Key, claim, controls
from kybern.reconcile.controller import Watch
from kybern.reconcile.pods import is_finished, is_namespace_terminating

Sets = Sequence[ReplicaSet]


async def reconcile(deployment: Deployment, view: View, client: Client, context: Context) -> After | None:
    if deployment.spec.selector == LabelSelector():
        message = "This deployment is selecting all pods. A non-empty selector is required."
        context.events.event(deployment, "Warning", "SelectingAll", message)
        return None
    selector = of_label_selector(deployment.spec.selector)
    found = await claim(deployment, ReplicaSet, selector, view, client)
    conditions = {condition.type or "": condition for condition in deployment.status.conditions or ()}
    step = Step(deployment, found, conditions, client, context)
    if deployment.metadata.deletion_timestamp is not None:
        return await step.tell(rollout=False)
    progress.note_pause(deployment, conditions, context.now)
    if deployment.spec.paused:
        return await step.only_scale()
    revision = rollback.wanted_revision(deployment)
    if revision is not None:
        await step.roll_back(revision)
        return None
    if revisions.desired_changed(deployment, found):
        return await step.only_scale()
    if sizes.is_rolling(deployment):
        return await step.roll()
    return await step.recreate(view)


class Step:
    """One pass over one Deployment."""

    def __init__(
        self,
        deployment: Deployment,
        found: Sets,
        conditions: progress.Conditions,
        client: Client,
        context: Context,
    ) -> None:
        self.deployment, self.conditions, self.client, self.context = deployment, conditions, client, context
        self.new, self.old = revisions.split(deployment, found)

    async def only_scale(self) -> After | None:
        await self._number()
        await self._resize(sizes.scale(self.deployment, self.new, self.old))
        if self.deployment.spec.paused:
            await self._clean_up()
        return await self.tell(rollout=False)

    async def roll_back(self, revision: int) -> None:
        """What follows from it is the next pass's."""
        new = await self._number() or await self._create()
        changed, told = rollback.rolled_back(self.deployment, [*self.old, new], revision)
        await self.client.update(changed)
        self.context.events.event(self.deployment, *told)

    async def roll(self) -> After | None:
        new = await self._number() or await self._create()
        if not await self._resize(sizes.rolling(self.deployment, new, self.old)):
            await self._clean_up_when_complete()
        return await self.tell()

    async def recreate(self, view: View) -> After | None:
        await self._number()
        if await self._resize(sizes.stopped(self.old)) or self._old_pods_run(view):
            return await self.tell()
        new = self.new or await self._create()
        await self._resize({name_of(new): sizes.desired(self.deployment)})
        await self._clean_up_when_complete()
        return await self.tell()

    def _old_pods_run(self, view: View) -> bool:
        return any(not is_finished(pod) for rs in self.old for pod in view.owned_by(rs, Pod))

    async def tell(self, *, rollout: bool = True) -> After | None:
        """Write the status if it changed, and look again when the deadline is over."""
        make = progress.rollout_status if rollout else progress.status_of
        status = make(self.deployment, self.new, self.old, self.conditions, self.context.now)
        if status != self.deployment.status:
            await self.client.update_status(replace(self.deployment, status=status))
        wait = progress.seconds_until_overdue(self.deployment, status, self.context.now)
        return None if wait is None else After(wait)

    async def _number(self) -> ReplicaSet | None:
        """Give the new ReplicaSet, if there is one, its revision, and the Deployment too."""
        if self.new is None:
            return None
        numbered = revisions.renumbered(self.deployment, self.new, revisions.next_revision(self.old))
        if numbered is not self.new:
            self.new = await self.client.update(numbered)
        await self._note_revision(self.new)
        if progress.deadline_of(self.deployment) is not None and "Progressing" not in self.conditions:
            self._progressing("FoundNewReplicaSet", f'Found new replica set "{self.new.metadata.name}"')
        return self.new

    async def _note_revision(self, new: ReplicaSet) -> None:
        revision = str(revisions.revision_of(new))
        if revisions.annotations_of(self.deployment).get(REVISION) == revision:
            return
        meta = self.deployment.metadata
        annotations = {**revisions.annotations_of(self.deployment), REVISION: revision}
        noted = replace(self.deployment, metadata=replace(meta, annotations=annotations))
        self.deployment = await self.client.update(noted)

    async def _create(self) -> ReplicaSet:
        deployment, size = self.deployment, sizes.new_size(self.deployment, None, self.old)
        wanted = revisions.new_replicaset(deployment, self.old, size)
        try:
            self.new = await self.client.create(wanted)
        except AlreadyExists:
            self.new = await self._same_or_collision(wanted)
        except ApiError as error:
            await self._creation_failed(wanted, error)
            raise
        else:
            if size:
                self._say(f"Scaled up replica set {wanted.metadata.name} from 0 to {size}")
        if progress.deadline_of(deployment) is not None:
            self._progressing("NewReplicaSetCreated", f'Created new replica set "{self.new.metadata.name}"')
        await self._note_revision(self.new)
        return self.new

    async def _same_or_collision(self, wanted: ReplicaSet) -> ReplicaSet:
        """Another pass may have made it; a foreign ReplicaSet of that name means that two templates hash alike."""
        there = await self.client.get(ReplicaSet, name_of(wanted), wanted.metadata.namespace or "")
        if controls(self.deployment, there) and revisions.same_template(self.deployment, there):
            return there
        collisions = (self.deployment.status.collision_count or 0) + 1
        status = replace(self.deployment.status, collision_count=collisions)
        self.deployment = await self.client.update_status(replace(self.deployment, status=status))
        return await self._create()

    async def _creation_failed(self, wanted: ReplicaSet, error: ApiError) -> None:
        if is_namespace_terminating(error):
            return
        message = f'Failed to create new replica set "{wanted.metadata.name}": {error.message}'
        self.context.events.event(self.deployment, "Warning", "ReplicaSetCreateError", message)
        now = self.context.now
        if progress.deadline_of(self.deployment) is not None:
            progress.set_condition(self.conditions, "Progressing", "False", "ReplicaSetCreateError", message, now)
        status = replace(self.deployment.status, conditions=tuple(self.conditions.values()))
        if status != self.deployment.status:
            await self.client.update_status(replace(self.deployment, status=status))

    async def _resize(self, wanted: Sizes) -> bool:
        """True when a size changed."""
        changed = False
        for rs in [*self.old, *([self.new] if self.new is not None else [])]:
            size = wanted.get(name_of(rs), size_of(rs) if rs is self.new else None)
            if size is None:
                continue
            resized = sizes.resized(self.deployment, rs, size)
            if resized is rs:
                continue
            self._replaced(rs, await self.client.update(resized))
            if size != size_of(rs):
                changed = True
                way = "up" if size > size_of(rs) else "down"
                self._say(f"Scaled {way} replica set {name_of(rs)} from {size_of(rs)} to {size}")
        return changed

    def _replaced(self, before: ReplicaSet, after: ReplicaSet) -> None:
        if before is self.new:
            self.new = after
        self.old = [after if rs is before else rs for rs in self.old]

    async def _clean_up_when_complete(self) -> None:
        if progress.is_complete(self.deployment, progress.counted(self.deployment, self.new, self.old)):
            await self._clean_up()

    async def _clean_up(self) -> None:
        for rs in revisions.beyond_history(self.deployment, self.old):
            try:
                await self.client.delete(
                    ReplicaSet, name_of(rs), rs.metadata.namespace or "", uid=rs.metadata.uid or ""
                )
            except NotFound:
                pass

    def _say(self, message: str) -> None:
        self.context.events.event(self.deployment, "Normal", "ScalingReplicaSet", message)

    def _progressing(self, reason: str, message: str) -> None:
        progress.set_condition(self.conditions, "Progressing", "True", reason, message, self.context.now)


def deployment_of_pod(pod: Pod, view: View) -> list[Key]:
    """Recreate waits until the last old pod is gone."""
    for rs in view.by_index(ReplicaSet, "uid", controller_uid(pod)):
        for deployment in view.by_index(Deployment, "uid", controller_uid(rs)):
            if not sizes.is_rolling(deployment):
                return [Key.of(deployment)]
    return []


DEPLOYMENT = Controller(
    name="deployment",
    reconciles=Deployment,
    owns=(ReplicaSet,),
    selects=lambda deployment: deployment.spec.selector,
    watches=(Watch(Pod, deployment_of_pod),),
    by=reconcile,
)
