"""DaemonSet: one pod on every node that fits (`placing`), replaced step by step when the template changes (`plan`)."""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.api.apps_v1 import ControllerRevision, DaemonSet
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import of_label_selector
from kybern.client import Client, View
from kybern.controllers.daemonset.failures import Failures
from kybern.controllers.daemonset.placing import node_of, template_for
from kybern.controllers.daemonset.plan import Fleet, Plan, fleet, place, roll, status_of
from kybern.reconcile import After, Context, Controller, Key, at_once, claim, slow_start
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.history import HASH, current_revision, forget, hash_of, surplus
from kybern.reconcile.pods import labelled, next_available, pod_from
from kybern.reconcile.replicas import told

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
BURST_PODS_MAX = 250  # of each, in a pass: what it changes wakes the next one


def daemonset() -> Controller[DaemonSet]:
    failures = Failures()

    async def by(daemonset: DaemonSet, view: View, client: Client, context: Context) -> After | None:
        return await reconcile(daemonset, failures, view, client, context)

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        failures.forget(key)

    return Controller(
        name="daemonset",
        rest_seconds=REST_SECONDS,
        reconciles=DaemonSet,
        owns=(Pod, ControllerRevision),
        selects=lambda daemonset: daemonset.spec.selector,
        watches=(Watch(Node, all_daemonsets),),
        by=by,
        gone=gone,
    )


async def reconcile(
    daemonset: DaemonSet, failures: Failures, view: View, client: Client, context: Context
) -> After | None:
    if daemonset.spec.selector == LabelSelector():
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        context.events.event(daemonset, "Warning", "SelectingAll", message)
        return None
    selector = of_label_selector(daemonset.spec.selector)
    pods = await claim(daemonset, Pod, selector, view, client)
    if daemonset.metadata.deletion_timestamp is not None:
        return None
    revisions = await claim(daemonset, ControllerRevision, selector, view, client)
    current = await current_revision(daemonset, daemonset.spec.template, revisions, client)
    found = fleet(daemonset, view.list(Node), pods, hash_of(current), context.now)

    placing = place(found, lambda node: failures.wait(daemonset, node, context.monotonic))
    for pod in placing.failed:
        tell_ended(pod, daemonset, context)
        if pod.status.phase == "Failed":
            failures.note(daemonset, node_of(pod), context.monotonic)
    settled = found.is_rolling and not (placing.create or placing.delete)
    error = await carry_out(roll(found) if settled else placing, found, client, context)
    in_use = {hash_of(current), *map(hash_of, pods)}
    unused = [revision for revision in revisions if hash_of(revision) not in in_use]
    await forget(surplus(unused, daemonset.spec.revision_history_limit), client)
    status = status_of(found)
    if status != daemonset.status:
        await client.update_status(replace(daemonset, status=status))
    if error is not None:
        raise error
    waits = (placing.wait_seconds, next_available(pods, daemonset.spec.min_ready_seconds or 0, context.now))
    soonest = min((wait for wait in waits if wait is not None), default=None)
    return None if soonest is None else After(soonest)


async def carry_out(wanted: Plan, found: Fleet, client: Client, context: Context) -> Exception | None:
    daemonset = found.daemonset
    template = labelled(daemonset.spec.template, **{HASH: found.revision}, **generation_of(daemonset))

    async def create(node: str) -> None:
        made = await client.create(pod_from(template_for(template, node), daemonset))
        context.events.event(daemonset, "Normal", "SuccessfulCreate", f"Created pod: {made.metadata.name}")

    async def delete(pod: Pod) -> None:
        try:
            await client.delete(Pod, pod.metadata.name or "", pod.metadata.namespace or "", uid=pod.metadata.uid or "")
        except NotFound:
            return
        context.events.event(daemonset, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")

    _, refused = await slow_start(wanted.create[:BURST_PODS_MAX], create)
    _, stuck = await at_once(wanted.delete[:BURST_PODS_MAX], delete)
    if refused is not None:
        failure = told(daemonset, "FailedCreate", "Error creating", refused, context)
    else:
        failure = None if stuck is None else told(daemonset, "FailedDelete", "Error deleting", stuck, context)
    return None if failure is None else failure.error


def generation_of(daemonset: DaemonSet) -> dict[str, str]:
    """The label by which pods were told apart before revisions had hashes; it is still there, and still asked for."""
    number = (daemonset.metadata.annotations or {}).get(TEMPLATE_GENERATION)
    return {GENERATION_LABEL: number} if number else {}


def tell_ended(pod: Pod, daemonset: DaemonSet, context: Context) -> None:
    meta, failed = pod.metadata, pod.status.phase == "Failed"
    message = (
        f"Found {'failed' if failed else 'succeeded'} daemon pod {meta.namespace}/{meta.name} on node "
        f"{pod.spec.node_name}, will try to {'kill' if failed else 'delete'} it"
    )
    reason = "FailedDaemonPod" if failed else "SucceededDaemonPod"
    context.events.event(daemonset, "Warning" if failed else "Normal", reason, message)


def all_daemonsets(node: Node, view: View) -> Iterable[Key]:
    """Any of them may belong on a node that came, went or changed."""
    return map(Key.of, view.list(DaemonSet))
