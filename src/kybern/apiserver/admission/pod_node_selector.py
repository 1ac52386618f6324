"""PodNodeSelector: the pods of a namespace run on the nodes that its annotation selects, or else the cluster's default.

A pod may narrow that further, unless the configuration has a list of what the pods of this namespace may say at all.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import Namespace, Pod
from kybern.api.errors import About, not_found
from kybern.api.selectors import parse_labels
from kybern.apiserver.admission.plugin import Inputs, Plugin, is_write_of, refused
from kybern.apiserver.request import Admission

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
CLUSTER_DEFAULT = "clusterDefaultNodeSelector"


class PodNodeSelector(Plugin):
    name = "PodNodeSelector"
    kinds = (Pod,)

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.selectors = selectors_in(inputs.configuration.get(self.name, {}))

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod, "CREATE"):
            return
        pod: Pod = admission.object
        wanted, own = self.of_namespace(admission), dict(pod.spec.node_selector or {})
        if any(own.get(key, value) != value for key, value in wanted.items()):
            raise refused(admission, "pod node label selector conflicts with its namespace node label selector")
        merged = {**wanted, **own}
        if merged != own:
            admission.object = replace(pod, spec=replace(pod.spec, node_selector=merged))

    async def validate(self, admission: Admission) -> None:
        allowed = self.selectors.get(admission.namespace)
        if not allowed or not is_write_of(admission, Pod, "CREATE"):
            return
        chosen = admission.object.spec.node_selector or {}
        if any(allowed.get(key) != value for key, value in chosen.items()):
            raise refused(admission, "pod node label selector labels conflict with its namespace whitelist")

    def of_namespace(self, admission: Admission) -> Mapping[str, str]:
        namespace = self.objects.get(Namespace, admission.namespace)
        if namespace is None:
            raise not_found(About(resource="namespaces", name=admission.namespace))
        text = (namespace.metadata.annotations or {}).get(ANNOTATION)
        if text is None:
            return self.selectors.get(CLUSTER_DEFAULT, {})
        try:
            return equalities(text)
        except ValueError as error:
            raise refused(admission, str(error)) from None


def selectors_in(configuration: Any) -> dict[str, Mapping[str, str]]:
    """By namespace. ValueError where it makes no sense."""
    found = configuration.get("podNodeSelectorPluginConfig") or {}
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError(
            "PodNodeSelector is configured by podNodeSelectorPluginConfig: namespaces with their selectors"
        )
    return {str(namespace): equalities(text) for namespace, text in found.items()}


def equalities(text: str) -> Mapping[str, str]:
    requirements = parse_labels(text).requirements
    if any(one.operator not in ("=", "==") for one in requirements):
        raise ValueError(f"invalid selector {text!r}: only key=value is understood")
    return {one.key: one.values[0] for one in requirements}
