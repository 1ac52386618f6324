"""resource claims: a pod that names a claim template gets a claim of its own; a claim is free when nobody needs it any more.

- The claim is the pod's, and goes with it; its name is told in the pod's status, where the scheduler reads it.
- A claim is reserved for pods; those that are gone or have ended let go of it, and with the last one its devices are free.
- A pod that was bound by its author never met the scheduler, so its claims are reserved for it here.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.core_v1 import Pod, PodResourceClaim, PodResourceClaimStatus
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.resource_v1 import ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate
from kybern.client import Client, View
from kybern.client.cache import controller_uid
from kybern.reconcile import After, Context, Controller, Key, controls
from kybern.reconcile.controller import Watch
from kybern.reconcile.ownership import controller_of
from kybern.reconcile.pods import is_finished
from kybern.reconcile.resource_claims import FINALIZER, extended_claim_name, owner_of_claim

POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
PREFIX_MAX = 57  # letters, so that a name has room for what the server adds
CONSUMERS_MAX = 256


# A pod's claims.


def has_claims(pod: Pod) -> bool:
    return bool(pod.spec.resource_claims) or bool(extended_claim_name(pod))


async def give_claims(pod: Pod, view: View, client: Client, context: Context) -> After | None:
    if is_finished(pod) or pod.metadata.deletion_timestamp is not None:
        return None
    known = {status.name: status for status in pod.status.resource_claim_statuses or ()}
    told = dict(known)
    for wanted in pod.spec.resource_claims or ():
        if wanted.resource_claim_template_name and await is_missing(known.get(wanted.name), pod, view, client):
            try:
                name = await claim_for(pod, wanted, view, client)
            except ApiError as error:
                message = f"PodResourceClaim {wanted.name}: {error.message}"
                context.events.event(pod, "Warning", "FailedResourceClaimCreation", message)
                raise
            told[wanted.name] = PodResourceClaimStatus(name=wanted.name, resource_claim_name=name)
    if told != known:
        statuses = tuple(told.values())
        await client.update_status(replace(pod, status=replace(pod.status, resource_claim_statuses=statuses)))
    elif pod.spec.node_name:
        await reserve_all(pod, view, client)
    return None


async def is_missing(told: PodResourceClaimStatus | None, pod: Pod, view: View, client: Client) -> bool:
    """It was not made yet, or somebody has deleted it since, and perhaps made another of its name: the server is asked where
    the View of claims may be late."""
    if told is None:
        return True
    name, namespace = told.resource_claim_name, pod.metadata.namespace or ""
    if name is None:
        return False
    found = view.get(ResourceClaim, name, namespace)
    try:
        return not controls(pod, found or await client.get(ResourceClaim, name, namespace))
    except NotFound:
        return True


async def claim_for(pod: Pod, wanted: PodResourceClaim, view: View, client: Client) -> str:
    """The name of the pod's own claim, made from its template when there is none."""
    for claim in view.owned_by(pod, ResourceClaim):
        if (claim.metadata.annotations or {}).get(POD_CLAIM) == wanted.name:
            return claim.metadata.name or ""
    name, namespace = wanted.resource_claim_template_name or "", pod.metadata.namespace or ""
    template = view.get(ResourceClaimTemplate, name, namespace)
    if template is None:
        raise NotFound(f'resource claim template "{name}": resourceclaimtemplate.resource.k8s.io "{name}" not found')
    made = await client.create(new_claim(pod, wanted.name, template))
    return made.metadata.name or ""


def new_claim(pod: Pod, name: str, template: ResourceClaimTemplate) -> ResourceClaim:
    given = template.spec.metadata
    return ResourceClaim(
        metadata=ObjectMeta(
            generate_name=prefix_for(pod.metadata.name or "", name),
            namespace=pod.metadata.namespace,
            labels=given.labels,
            annotations={**(given.annotations or {}), POD_CLAIM: name},
            owner_references=(owner_of_claim(pod),),
        ),
        spec=template.spec.spec,
    )


def prefix_for(pod: str, claim: str) -> str:
    """Of a claim's name. Where both do not fit, something of each is left."""
    whole = f"{pod}-{claim}-"
    if len(whole) <= PREFIX_MAX:
        return whole
    return f"{pod[: len(pod) * PREFIX_MAX // len(whole)]}-{claim[: len(claim) * PREFIX_MAX // len(whole)]}"


def claims_of(pod: Pod, view: View) -> Iterable[ResourceClaim]:
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses or ()}
    names = [wanted.resource_claim_name or made.get(wanted.name) for wanted in pod.spec.resource_claims or ()]
    for name in (*names, extended_claim_name(pod)):
        claim = view.get(ResourceClaim, name or "", pod.metadata.namespace or "")
        if claim is not None:
            yield claim


async def reserve_all(pod: Pod, view: View, client: Client) -> None:
    for claim in claims_of(pod, view):
        reserved = claim.status.reserved_for or ()
        if claim.status.allocation is None or any(one.uid == pod.metadata.uid for one in reserved):
            continue
        if len(reserved) >= CONSUMERS_MAX:
            continue
        mine = ResourceClaimConsumerReference(resource="pods", name=pod.metadata.name or "", uid=pod.metadata.uid or "")
        await client.update_status(replace(claim, status=replace(claim.status, reserved_for=(*reserved, mine))))


# A claim and those that need it.


async def free(claim: ResourceClaim, view: View, client: Client, context: Context) -> After | None:
    reserved = claim.status.reserved_for or ()
    kept = tuple([one for one in reserved if await still_needs(one, claim, view, client)])
    if kept:
        if len(kept) < len(reserved):
            await client.update_status(replace(claim, status=replace(claim.status, reserved_for=kept)))
        return None
    if reserved or claim.metadata.deletion_timestamp is not None:
        claim = await released(claim, client)
    if claim.metadata.deletion_timestamp is None and is_left_over(claim, view):
        meta = claim.metadata
        try:
            await client.delete(ResourceClaim, meta.name or "", meta.namespace or "", uid=meta.uid or "")
        except (NotFound, Conflict):
            pass
    return None


async def still_needs(
    consumer: ResourceClaimConsumerReference, claim: ResourceClaim, view: View, client: Client
) -> bool:
    """Asked of the server where the View has no such pod: it may be late, and devices in use must not be given away."""
    if consumer.api_group or consumer.resource != "pods":
        return True  # nobody here knows what that is
    pod = view.get(Pod, consumer.name, claim.metadata.namespace or "")
    if pod is None or pod.metadata.uid != consumer.uid:
        try:
            pod = await client.get(Pod, consumer.name, claim.metadata.namespace or "")
        except NotFound:
            return False
    return pod.metadata.uid == consumer.uid and not is_done(pod)


def is_done(pod: Pod) -> bool:
    """None of its containers runs, or ever will."""
    return is_finished(pod) or (pod.metadata.deletion_timestamp is not None and not pod.spec.node_name)


async def released(claim: ResourceClaim, client: Client) -> ResourceClaim:
    """Nobody needs it any more: its devices are free, and it may go. One that nobody has needed yet is left alone: the
    scheduler protects it before it gives it devices."""
    status = replace(claim.status, reserved_for=None, allocation=None, devices=None)
    if status != claim.status:
        claim = await client.update_status(replace(claim, status=status))
    finalizers = claim.metadata.finalizers or ()
    if FINALIZER not in finalizers:
        return claim
    kept = tuple(name for name in finalizers if name != FINALIZER)
    return await client.update(replace(claim, metadata=replace(claim.metadata, finalizers=kept or None)))


def is_left_over(claim: ResourceClaim, view: View) -> bool:
    """It was made for a pod that has ended. One that is gone is the garbage collector's concern."""
    owner = controller_of(claim)
    if owner is None or owner.kind != "Pod":
        return False
    pod = view.get(Pod, owner.name, claim.metadata.namespace or "")
    return pod is not None and (pod.metadata.uid != owner.uid or is_done(pod))


def claims_needed_by(pod: Pod, view: View) -> Iterable[Key]:
    return map(Key.of, claims_of(pod, view)) if has_claims(pod) else ()


def pods_needing(claim: ResourceClaim, view: View) -> Iterable[Key]:
    owned = [pod for pod in view.by_index(Pod, "uid", controller_uid(claim)) if controller_uid(claim)]
    return map(Key.of, owned)


def pods_wanting(template: ResourceClaimTemplate, view: View) -> Iterable[Key]:
    name = template.metadata.name
    for pod in filter(has_claims, view.list(Pod, template.metadata.namespace or "")):
        if any(wanted.resource_claim_template_name == name for wanted in pod.spec.resource_claims or ()):
            yield Key.of(pod)


POD_CLAIMS = Controller(
    name="resource-claims-of-pods",
    component="resource_claim",
    reconciles=Pod,
    concerns=has_claims,
    watches=(Watch(ResourceClaim, pods_needing), Watch(ResourceClaimTemplate, pods_wanting)),
    by=give_claims,
)

RESOURCE_CLAIMS = Controller(
    name="resource-claim",
    component="resource_claim",
    reconciles=ResourceClaim,
    reads=(Pod,),
    watches=(Watch(Pod, claims_needed_by),),
    by=free,
)
