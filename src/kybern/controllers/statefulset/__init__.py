"""StatefulSet: pods with names that last (`identity`), which come, go and are replaced in order (`plan`)."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision, StatefulSet
from kybern.api.core_v1 import PersistentVolumeClaim, Pod
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.controllers.statefulset.identity import (
    belongs,
    claim_owner,
    claims,
    identified,
    is_stale,
    new_pod,
    ordinal_of,
    owned_as,
    pod_name,
)
from kybern.controllers.statefulset.plan import Ensemble, Plan, ensemble, plan, status_of
from kybern.reconcile import After, Context, Controller, Key, at_once, claim, slow_start
from kybern.reconcile.controller import Watch
from kybern.reconcile.history import current_revision, forget, hash_of, name_of, surplus
from kybern.reconcile.pods import is_namespace_terminating, next_available


async def reconcile(statefulset: StatefulSet, view: View, client: Client, context: Context) -> After | None:
    selector = of_label_selector(statefulset.spec.selector)
    pods = await claim(statefulset, Pod, selector, view, client, adoptable=lambda pod: belongs(statefulset, pod))
    if statefulset.metadata.deletion_timestamp is not None:
        await tell_status(as_it_was(statefulset, pods, context.now), client)
        return None
    revisions = await claim(statefulset, ControllerRevision, selector, view, client)
    update = await current_revision(statefulset, statefulset.spec.template, revisions, client)
    before = statefulset.status.current_revision
    current = next((found for found in revisions if name_of(found) == before), update)

    found = ensemble(statefulset, pods, name_of(current), name_of(update), context.now)
    step = plan(found)
    by_name = {name_of(current): current, name_of(update): update}
    failed = await carry_out(step, found, by_name, view, client, context)
    await repair(found, view, client, context)
    await keep_claims(found, view, client)
    in_use = {*by_name, *map(hash_of, pods)}
    unused = [revision for revision in revisions if name_of(revision) not in in_use]
    await forget(surplus(unused, statefulset.spec.revision_history_limit), client)

    await tell_status(found, client)
    if failed is not None:
        raise failed
    wait = next_available(pods, found.min_ready_seconds, context.now)
    return None if wait is None else After(wait)


def as_it_was(statefulset: StatefulSet, pods: Sequence[Pod], now: float) -> Ensemble:
    """One that is being deleted: no revision is made any more."""
    status = statefulset.status
    return ensemble(statefulset, pods, status.current_revision or "", status.update_revision or "", now)


async def tell_status(found: Ensemble, client: Client) -> None:
    status = status_of(found)
    if status != found.statefulset.status:
        await client.update_status(replace(found.statefulset, status=status))


async def carry_out(
    step: Plan,
    found: Ensemble,
    revisions: dict[str, ControllerRevision],
    view: View,
    client: Client,
    context: Context,
) -> Exception | None:
    statefulset, name = found.statefulset, found.statefulset.metadata.name

    async def create(ordinal: int) -> None:
        if any(is_stale(claim, pod_name(statefulset, ordinal)) for claim in known_claims(statefulset, ordinal, view)):
            return  # they are about to go, which wakes this loop again
        await create_claims(statefulset, ordinal, view, client, context)
        pod = new_pod(statefulset, ordinal, revisions[found.revision_for(ordinal)])
        await client.create(pod)  # a pod of that name that is not ours is waited for, by back-off
        message = f"create Pod {pod.metadata.name} in StatefulSet {name} successful"
        context.events.event(statefulset, "Normal", "SuccessfulCreate", message)

    async def delete(pod: Pod) -> None:
        try:
            await client.delete(Pod, pod.metadata.name or "", pod.metadata.namespace or "", uid=pod.metadata.uid or "")
        except NotFound:
            return
        message = f"delete Pod {pod.metadata.name} in StatefulSet {name} successful"
        context.events.event(statefulset, "Normal", "SuccessfulDelete", message)

    _, stuck = await at_once(step.delete, delete)
    _, refused = await slow_start(step.create, create)
    if refused is not None:
        tell(statefulset, "create", step.create, refused, context)
    if stuck is not None:
        tell(statefulset, "delete", list(map(ordinal_of, step.delete)), stuck, context)
    return refused or stuck


def tell(statefulset: StatefulSet, doing: str, ordinals: Sequence[int], error: Exception, context: Context) -> None:
    if not isinstance(error, ApiError) or isinstance(error, AlreadyExists) or is_namespace_terminating(error):
        return
    name = statefulset.metadata.name
    message = f"{doing} Pod {name}-{ordinals[0]} in StatefulSet {name} failed error: {error.message}"
    context.events.event(statefulset, "Warning", f"Failed{doing.capitalize()}", message)


async def create_claims(statefulset: StatefulSet, ordinal: int, view: View, client: Client, context: Context) -> None:
    for wanted in claims(statefulset, ordinal):
        meta = wanted.metadata
        if view.get(PersistentVolumeClaim, meta.name or "", meta.namespace or "") is not None:
            continue
        owner = claim_owner(statefulset, None, condemned=False)
        try:
            await client.create(owned_as(wanted, statefulset, None, owner))
        except AlreadyExists:
            continue
        name = statefulset.metadata.name
        message = f"create Claim {meta.name} Pod {name}-{ordinal} in StatefulSet {name} success"
        context.events.event(statefulset, "Normal", "SuccessfulCreate", message)


def known_claims(statefulset: StatefulSet, ordinal: int, view: View) -> Iterator[PersistentVolumeClaim]:
    for wanted in claims(statefulset, ordinal):
        known = view.get(PersistentVolumeClaim, wanted.metadata.name or "", wanted.metadata.namespace or "")
        if known is not None:
            yield known


async def repair(found: Ensemble, view: View, client: Client, context: Context) -> None:
    """Pods that were adopted are told which one they are; pods that wait get the claims that were lost meanwhile."""
    for ordinal, pod in found.pods.items():
        if ordinal not in found.slots or pod.metadata.deletion_timestamp is not None:
            continue
        if pod.status.phase == "Pending":
            await create_claims(found.statefulset, ordinal, view, client, context)
        named = identified(pod)
        if named is not pod:
            await client.update(named)
            name = found.statefulset.metadata.name
            message = f"update Pod {pod.metadata.name} in StatefulSet {name} successful"
            context.events.event(found.statefulset, "Normal", "SuccessfulUpdate", message)


async def keep_claims(found: Ensemble, view: View, client: Client) -> None:
    """Let claims end with whom the retention policy says."""
    statefulset = found.statefulset
    if statefulset.spec.persistent_volume_claim_retention_policy is None:
        return
    for ordinal, pod in found.pods.items():
        owner = claim_owner(statefulset, pod, condemned=ordinal not in found.slots)
        for known in known_claims(statefulset, ordinal, view):
            owned = owned_as(known, statefulset, pod, owner)
            if owned is not known:
                await client.update(owned)


def owner_of_claim(claim: PersistentVolumeClaim, view: View) -> list[Key]:
    """A claim that goes may be what a pod to be waits for."""
    found = [ref.name for ref in claim.metadata.owner_references or () if ref.kind == "Pod"]
    return [Key(claim.metadata.namespace or "", name.rpartition("-")[0]) for name in found]


STATEFULSET = Controller(
    name="statefulset",
    component="statefulset-controller",
    reconciles=StatefulSet,
    owns=(Pod, ControllerRevision),
    selects=lambda statefulset: statefulset.spec.selector,
    watches=(Watch(PersistentVolumeClaim, owner_of_claim),),
    by=reconcile,
)
