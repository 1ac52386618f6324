"""pods/eviction: a deletion that is asked for, so that budgets may refuse it."""

from msgspec.structs import replace

from kybern.api.codec import decode
from kybern.api.core_v1 import Pod, PodCondition, PodStatus
from kybern.api.meta_v1 import DeleteOptions, Status
from kybern.api.policy_v1 import Eviction, PodDisruptionBudget
from kybern.apiserver.budgets import budget_of, costs_nothing, is_free, spent
from kybern.apiserver.deletion import delete
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Writing, manager_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.writes import rewrite


class Evictions:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def create(self, eviction: Eviction, request: ApiRequest) -> Status:
        at = request.attributes
        storage = self.machine.storages[("", "v1", "pods")]
        options = eviction.delete_options or DeleteOptions()
        writing = Writing(
            user=request.user,
            manager=manager_of(request.http.headers.get("user-agent", "")),
            dry_run=bool(options.dry_run or request.params.get("dryRun")),
            warnings=request.warnings,
            options=options,
        )
        head = self.machine.store.head(storage.resource.key(at.namespace, at.name))
        if head is not None:
            pod = await storage.load(head)
            await self._spend(pod, writing)
            options = await self._mark(pod, options, writing)
        await delete(self.machine, storage, at.namespace, at.name, options, writing)
        return Status(status="Success", code=201)

    async def _mark(self, pod: Pod, options: DeleteOptions, asked: Writing) -> DeleteOptions:
        """Say in the pod's status that it is disrupted, so that its Job need not count that as its own failure. Whoever
        asked for a version means the one before this change."""
        storage = self.machine.storages[("", "v1", "pods")]
        wanted = options.preconditions.resource_version if options.preconditions is not None else None
        if asked.dry_run or wanted not in (None, pod.metadata.resource_version):
            return options

        def change(old: Pod) -> Pod:
            return replace(old, status=evicted(old.status, self.machine.now()))

        meta = pod.metadata
        written = await rewrite(
            self.machine, storage, meta.namespace or "", meta.name or "", change, part_of(asked, "status")
        )
        if wanted is None or options.preconditions is None:
            return options
        version = decode(Pod, written.served).metadata.resource_version
        return replace(options, preconditions=replace(options.preconditions, resource_version=version))

    async def _spend(self, pod: Pod, asked: Writing) -> None:
        """Note the eviction in the pod's budget; TooManyRequests where that has nothing left."""
        storage = self.machine.storages[("policy", "v1", "poddisruptionbudgets")]
        namespace, name = pod.metadata.namespace or "", pod.metadata.name or ""
        items = storage.cache.all(namespace)
        budget = None if is_free(pod) else budget_of(pod, [decode(PodDisruptionBudget, item.served) for item in items])
        if budget is None or costs_nothing(pod, budget):
            return
        writing = part_of(asked, "status")

        def change(old: PodDisruptionBudget) -> PodDisruptionBudget:
            return spent(old, name, self.machine.now())

        await rewrite(self.machine, storage, namespace, budget.metadata.name or "", change, writing)


def part_of(asked: Writing, subresource: str) -> Writing:
    return Writing(
        user=asked.user, manager=asked.manager, dry_run=asked.dry_run, warnings=asked.warnings, subresource=subresource
    )


def evicted(status: PodStatus, now: str) -> PodStatus:
    others = tuple(found for found in status.conditions or () if found.type != "DisruptionTarget")
    mark = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
        last_transition_time=now,
    )
    return replace(status, conditions=(*others, mark))
