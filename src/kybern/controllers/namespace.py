"""namespace: delete everything in a namespace that is being deleted, then let it go.

Pods go first, and nothing else before they are gone: what they use is there to their end. What is left, and what holds
it, is told in the namespace's conditions.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import decode
from kybern.api.core_v1 import Namespace, NamespaceCondition, NamespaceSpec, Pod
from kybern.api.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from kybern.api.kind import Kind
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.client.client import METADATA_LIST, Meta
from kybern.client.discovery import discover
from kybern.reconcile import After, Context, Controller
from kybern.reconcile.pods import is_finished

FINALIZER = "kubernetes"
LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 1.0, 8.0  # the longest is upstream's for what only finalizers hold
NEEDED_VERBS = {"delete", "list"}


@dataclass(slots=True)
class Content:
    """What a namespace still holds, by resource."""

    remaining: dict[Kind, list[ObjectMeta]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    undiscovered: list[str] = field(default_factory=list)

    @property
    def is_gone(self) -> bool:
        return not (self.remaining or self.errors or self.undiscovered)


async def reconcile(namespace: Namespace, view: View, client: Client, context: Context) -> After | None:
    if namespace.metadata.deletion_timestamp is None or FINALIZER not in (namespace.spec.finalizers or ()):
        return None
    since = context.now - from_rfc3339(namespace.metadata.deletion_timestamp)
    name = namespace.metadata.name or ""
    content = await delete_content(name, client, pods_may_stay=since < grace_seconds(view.list(Pod, name)))
    namespace = await tell(namespace, content, client, context.now)
    if not content.is_gone:
        return After(min(max(since / 4, LOOK_SECONDS_MIN), LOOK_SECONDS_MAX))
    left = tuple(name for name in namespace.spec.finalizers or () if name != FINALIZER)
    try:
        await client.update(replace(namespace, spec=NamespaceSpec(finalizers=left or None)), subresource="finalize")
    except NotFound:
        pass
    return None


def grace_seconds(pods: Iterable[Pod]) -> float:
    """How long those that run may take."""
    return max((pod.spec.termination_grace_period_seconds or 0.0 for pod in pods if not is_finished(pod)), default=0.0)


async def delete_content(namespace: str, client: Client, *, pods_may_stay: bool) -> Content:
    """Ask for the deletion of everything; what is there after that. What stays although nothing holds it is told as upstream
    tells it, as a failure; of pods only once their time to end is over."""
    kinds, undiscovered = await discover(client)
    deletable = [kind for kind in kinds if kind.namespaced and set(kind.verbs) >= NEEDED_VERBS]
    content = Content(undiscovered=undiscovered)
    for group in pods_first(deletable):
        await asyncio.gather(*(delete_kind(kind, namespace, client, content) for kind in group))
        if content.remaining or content.errors:
            break
    for kind, left in content.remaining.items():
        if not any(meta.finalizers for meta in left) and not (pods_may_stay and is_pods(kind)):
            content.errors.append(f"unexpected items still remain in namespace: {namespace} for gvr: {gvr(kind)}")
    return content


def pods_first(kinds: Sequence[Kind]) -> tuple[list[Kind], list[Kind]]:
    pods = list(filter(is_pods, kinds))
    return pods, [kind for kind in kinds if kind not in pods]


def is_pods(kind: Kind) -> bool:
    return kind.group_resource == "pods"


def gvr(kind: Kind) -> str:
    """As Go prints it."""
    return f"{kind.group}/{kind.version}, Resource={kind.plural}"


async def delete_kind(kind: Kind, namespace: str, client: Client, content: Content) -> None:
    try:
        if not await left_of(kind, namespace, client):
            return
        if "deletecollection" in kind.verbs:
            await client.delete_collection(kind, namespace)
        else:
            for meta in await left_of(kind, namespace, client):
                await client.delete_kind(kind, meta.name or "", namespace, uid=meta.uid or "", propagation="Background")
        remaining = await left_of(kind, namespace, client)
    except (NotFound, MethodNotAllowed):
        return  # the kind itself has gone meanwhile, or does not allow it
    except ApiError as error:
        content.errors.append(error.message)
        return
    if remaining:
        content.remaining[kind] = remaining


async def left_of(kind: Kind, namespace: str, client: Client) -> list[ObjectMeta]:
    page = await client.page(kind, namespace, "", METADATA_LIST)
    return [decode(Meta, item).metadata for item in page.items or ()]


async def tell(namespace: Namespace, content: Content, client: Client, now: float) -> Namespace:
    known = {condition.type: condition for condition in namespace.status.conditions or ()}
    told = conditions_of(content)
    if content.is_gone and not known:
        return namespace  # gone at once: there was nothing to wait for, and nobody reads it any more
    for type, (status, reason, message) in told.items():
        before = known.get(type)
        if before is None or (before.status, before.message) != (status, message):
            same = before is not None and before.status == status
            since = before.last_transition_time if before is not None and same else rfc3339(now)
            known[type] = NamespaceCondition(
                type=type, status=status, reason=reason, message=message, last_transition_time=since
            )
    status_now = replace(namespace.status, conditions=tuple(known.values()))
    if status_now == namespace.status:
        return namespace
    try:
        return await client.update_status(replace(namespace, status=status_now))
    except Conflict:
        return await client.get(Namespace, namespace.metadata.name or "")


def conditions_of(content: Content) -> dict[str, tuple[str, str, str]]:
    """Type -> status, reason and message, in upstream's words."""
    finalizers = Counter(
        name for found in content.remaining.values() for meta in found for name in meta.finalizers or ()
    )
    return {
        "NamespaceDeletionDiscoveryFailure": said(
            bool(content.undiscovered),
            ("DiscoveryFailed", not_discovered(content.undiscovered)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": said(
            bool(content.errors),
            (
                "ContentDeletionFailed",
                f"Failed to delete all resource types, {len(content.errors)} remaining: {listed(content.errors)}",
            ),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        "NamespaceContentRemaining": said(
            bool(content.remaining),
            ("SomeResourcesRemain", f"Some resources are remaining: {listed(remaining_counts(content))}"),
            ("ContentRemoved", "All content successfully removed"),
        ),
        "NamespaceFinalizersRemaining": said(
            bool(finalizers),
            (
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {in_counts(finalizers)}",
            ),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    }


def not_discovered(groups: Sequence[str]) -> str:
    failing = listed(f"{group}: stale GroupVersion discovery: {group}" for group in groups)
    return (
        f"Discovery failed for some groups, {len(groups)} failing: "
        f"unable to retrieve the complete list of server APIs: {failing}"
    )


def said(holds: bool, yes: tuple[str, str], no: tuple[str, str]) -> tuple[str, str, str]:
    return ("True", *yes) if holds else ("False", *no)


def remaining_counts(content: Content) -> Iterable[str]:
    return (
        f"{kind.plural}.{kind.group} has {len(found)} resource instances" for kind, found in content.remaining.items()
    )


def in_counts(finalizers: Counter[str]) -> str:
    return listed(f"{name} in {number} resource instances" for name, number in finalizers.items())


def listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts))


NAMESPACE = Controller(name="namespace", reconciles=Namespace, reads=(Pod,), by=reconcile, workers=10)
