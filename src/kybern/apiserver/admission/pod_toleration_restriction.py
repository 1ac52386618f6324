"""PodTolerationRestriction: a namespace's annotations say what its pods tolerate by default, and what they may tolerate.

Where a namespace says nothing, the configuration does, for the whole cluster.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.api.codec import from_builtins, untyped
from kybern.api.core_v1 import Namespace, Pod, PodSpec, Toleration
from kybern.api.errors import About, not_found
from kybern.apiserver.admission.plugin import Inputs, Plugin, is_write_of, refused
from kybern.apiserver.request import Admission
from kybern.registry.podspec.qos import qos_class

DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
MEMORY_PRESSURE = Toleration(key="node.kubernetes.io/memory-pressure", operator="Exists", effect="NoSchedule")


class PodTolerationRestriction(Plugin):
    name = "PodTolerationRestriction"
    kinds = (Pod,)

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.defaults, self.allowed = for_the_cluster(inputs.configuration.get(self.name, {}))

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod):
            return
        pod: Pod = admission.object
        tolerated = tuple(pod.spec.tolerations or ())
        if admission.operation == "CREATE":
            of_namespace = self.annotated(admission, DEFAULTS)
            tolerated = merged(self.defaults if of_namespace is None else of_namespace, tolerated)
        if qos_class(pod.spec) != "BestEffort":
            tolerated = merged(tolerated, (MEMORY_PRESSURE,))
        tolerated = merged(tolerated, ())
        if tolerated != (pod.spec.tolerations or ()):
            admission.object = replace(pod, spec=replace(pod.spec, tolerations=tolerated))

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod):
            return
        of_namespace = self.annotated(admission, ALLOWED)
        allowed, scope = (self.allowed, "cluster") if of_namespace is None else (of_namespace, "namespace")
        for toleration in (admission.object.spec.tolerations or ()) if allowed else ():
            if not any(covers(one, toleration) for one in allowed):
                merge = "pod tolerations (possibly merged with namespace default tolerations)"
                raise refused(admission, f"{merge} conflict with its {scope} whitelist")

    def annotated(self, admission: Admission, key: str) -> tuple[Toleration, ...] | None:
        namespace = self.objects.get(Namespace, admission.namespace)
        if namespace is None:
            raise not_found(About(resource="namespaces", name=admission.namespace))
        text = (namespace.metadata.annotations or {}).get(key)
        if text is None:
            return None
        try:
            return tolerations_in(untyped(text) if text else [])
        except (ValueError, msgspec.MsgspecError) as error:
            raise refused(
                admission, f"the annotation {key} of its namespace is no list of tolerations: {error}"
            ) from None


def for_the_cluster(configuration: Any) -> tuple[tuple[Toleration, ...], tuple[Toleration, ...]]:
    """The default ones, and the allowed ones. ValueError, or msgspec's, where it makes no sense."""
    return tolerations_in(configuration.get("default") or []), tolerations_in(configuration.get("whitelist") or [])


def tolerations_in(listed: Any) -> tuple[Toleration, ...]:
    """ValueError, or msgspec's, where it is no list of them."""
    if not isinstance(listed, list):
        raise ValueError("not a list")
    spec: PodSpec = from_builtins(PodSpec, {"containers": [], "tolerations": listed})
    return tuple(spec.tolerations or ())


def merged(first: Sequence[Toleration], second: Sequence[Toleration]) -> tuple[Toleration, ...]:
    """All of them, without those that another one covers; of equal ones the first."""
    every = (*first, *second)
    kept: list[Toleration] = []
    for index, one in enumerate(every):
        if any(covers(other, one) for other in kept):
            continue
        if any(other != one and covers(other, one) for other in every[index + 1 :]):
            continue
        kept.append(one)
    return tuple(kept)


def covers(wide: Toleration, narrow: Toleration) -> bool:
    """Whether what `narrow` tolerates, `wide` tolerates too."""
    if wide == narrow:
        return True
    if wide.key and (narrow.key or "") != wide.key:
        return False
    if wide.effect and narrow.effect != wide.effect:
        return False
    if wide.effect == "NoExecute" and outlasts(narrow, wide):
        return False
    if wide.operator == "Exists":
        return True
    same_operator = (wide.operator or "Equal") == (narrow.operator or "Equal") == "Equal"
    return same_operator and (wide.value or "") == (narrow.value or "")


def outlasts(one: Toleration, other: Toleration) -> bool:
    if other.toleration_seconds is None:
        return False
    return one.toleration_seconds is None or one.toleration_seconds > other.toleration_seconds
