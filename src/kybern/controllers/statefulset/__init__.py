"""StatefulSet: pods with names that last (`identity`), which come, go and are replaced in order (`plan`)."""

from collections.abc import Sequence

from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision, StatefulSet
from kybern.api.core_v1 import PersistentVolumeClaim, Pod
from kybern.api.errors import AlreadyExists, ApiError, NotFound
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.controllers.statefulset.identity import belongs, claim_owner, claims, new_pod, ordinal_of, owned_as
from kybern.controllers.statefulset.plan import Ensemble, Plan, ensemble, plan, status_of
from kybern.reconcile import After, Context, Controller, at_once, claim
from kybern.reconcile.history import current_revision, forget, hash_of, name_of, surplus
from kybern.reconcile.pods import is_namespace_terminating, next_available


async def reconcile(statefulset: StatefulSet, view: View, client: Client, context: Context) -> After | None:
    selector = of_label_selector(statefulset.spec.selector)
    pods = await claim(statefulset, Pod, selector, view, client, adoptable=lambda pod: belongs(statefulset, pod))
    if statefulset.metadata.deletion_timestamp is not None:
        return None
    revisions = await claim(statefulset, ControllerRevision, selector, view, client)
    update = await current_revision(statefulset, statefulset.spec.template, revisions, client)
    before = statefulset.status.current_revision
    current = next((found for found in revisions if name_of(found) == before), update)

    found = ensemble(statefulset, pods, hash_of(current), hash_of(update), context.now)
    step = plan(found)
    by_hash = {hash_of(current): current, hash_of(update): update}
    failed = await carry_out(step, found, by_hash, view, client, context)
    await keep_claims(found, view, client)
    in_use = {hash_of(current), hash_of(update), *map(hash_of, pods)}
    await forget(surplus(revisions, in_use, statefulset.spec.revision_history_limit), client)

    status = status_of(found, name_of(current), name_of(update))
    if status != statefulset.status:
        await client.update_status(replace(statefulset, status=status))
    if failed is not None:
        raise failed
    wait = next_available(pods, found.min_ready_seconds, context.now)
    return None if wait is None else After(wait)


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
        await create_claims(statefulset, ordinal, view, client, context)
        pod = new_pod(statefulset, ordinal, revisions[found.revision_for(ordinal)])
        try:
            await client.create(pod)
        except AlreadyExists:
            return
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
    _, refused = await at_once(step.create, create)
    if refused is not None:
        tell(statefulset, "create", step.create, refused, context)
    if stuck is not None:
        tell(statefulset, "delete", list(map(ordinal_of, step.delete)), stuck, context)
    return refused or stuck


def tell(statefulset: StatefulSet, doing: str, ordinals: Sequence[int], error: Exception, context: Context) -> None:
    if not isinstance(error, ApiError) or is_namespace_terminating(error):
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


async def keep_claims(found: Ensemble, view: View, client: Client) -> None:
    """Let claims end with whom the retention policy says."""
    statefulset = found.statefulset
    if statefulset.spec.persistent_volume_claim_retention_policy is None:
        return
    for ordinal, pod in found.pods.items():
        owner = claim_owner(statefulset, pod, condemned=ordinal not in found.slots)
        for wanted in claims(statefulset, ordinal):
            known = view.get(PersistentVolumeClaim, wanted.metadata.name or "", wanted.metadata.namespace or "")
            if known is None:
                continue
            owned = owned_as(known, statefulset, pod, owner)
            if owned is not known:
                await client.update(owned)


STATEFULSET = Controller(
    name="statefulset",
    component="statefulset-controller",
    reconciles=StatefulSet,
    owns=(Pod, ControllerRevision),
    selects=lambda statefulset: statefulset.spec.selector,
    reads=(PersistentVolumeClaim,),
    by=reconcile,
)
