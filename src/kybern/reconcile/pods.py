"""What the loops that make pods have in common: is a pod active, ready, available; a pod from a template."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339
from kybern.aio.ids import SUFFIX_LETTERS
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Pod, PodCondition, PodStatus, PodTemplateSpec
from kybern.api.errors import ApiError
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import View
from kybern.reconcile.ownership import controller_ref

FINISHED = ("Succeeded", "Failed")
HASH_LETTERS = 10


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in FINISHED


def is_active(pod: Pod) -> bool:
    """It runs, or will: neither finished nor being deleted."""
    return not is_finished(pod) and pod.metadata.deletion_timestamp is None


def is_terminating(pod: Pod) -> bool:
    return not is_finished(pod) and pod.metadata.deletion_timestamp is not None


def condition(pod: Pod, type: str) -> PodCondition | None:
    return next((found for found in pod.status.conditions or () if found.type == type), None)


def is_ready(pod: Pod) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def ready_since(pod: Pod) -> float | None:
    """Seconds since 1970; None when it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found.status != "True":
        return None
    return from_rfc3339(found.last_transition_time) if found.last_transition_time else 0.0


def seconds_until_available(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """0 when it is available, None when it is not even ready."""
    since = ready_since(pod)
    return None if since is None else max(0.0, since + min_ready_seconds - now)


def is_available(pod: Pod, min_ready_seconds: int, now: float) -> bool:
    return seconds_until_available(pod, min_ready_seconds, now) == 0.0


def next_available(pods: Sequence[Pod], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the next of the ready pods becomes available; None when none is on its way."""
    waits = (seconds_until_available(pod, min_ready_seconds, now) for pod in pods)
    return min((wait for wait in waits if wait), default=None)


def by_node(pod: Pod) -> tuple[str, ...]:
    return (pod.spec.node_name,) if pod.spec.node_name else ()


def pods_on(node: str, view: View) -> list[Pod]:
    view.add_index(Pod, "node", by_node)
    return view.by_index(Pod, "node", node)


def pod_from(template: PodTemplateSpec, owner: Any, **meta: Any) -> Pod:
    """A pod that `owner` controls, named after it unless `meta` says how."""
    of = template.metadata
    named = {"generate_name": f"{owner.metadata.name}-"} if "name" not in meta else {}
    given: dict[str, Any] = {
        "namespace": owner.metadata.namespace,
        "labels": of.labels,
        "annotations": of.annotations,
        "finalizers": of.finalizers,
        "owner_references": (controller_ref(owner),),
    }
    return Pod(metadata=ObjectMeta(**given | named | meta), spec=template.spec, status=PodStatus())


def labelled(template: PodTemplateSpec, **labels: str) -> PodTemplateSpec:
    """The template with labels added; `-` stands as `_` in their names."""
    added = {name.replace("_", "-"): value for name, value in labels.items()}
    return replace(template, metadata=replace(template.metadata, labels={**(template.metadata.labels or {}), **added}))


def short_hash(value: Any, collisions: int = 0) -> str:
    """A short name for a value: the same for equal values, another one for every number of collisions."""
    text = msgspec.json.encode([to_builtins(value), collisions], order="deterministic")
    digest = hashlib.sha256(text).digest()
    return "".join(SUFFIX_LETTERS[byte % len(SUFFIX_LETTERS)] for byte in digest[:HASH_LETTERS])


def is_namespace_terminating(error: Exception) -> bool:
    """Nothing can be created in a namespace that is being deleted, and nobody needs to be told."""
    return isinstance(error, ApiError) and any(cause.reason == "NamespaceTerminating" for cause in error.causes)
