"""NamespaceAutoProvision makes the namespace that something is created in; NamespaceExists only insists that there is one.

Both are off by default: NamespaceLifecycle, which is on, knows of namespaces that end too.
"""

from kybern.api.core_v1 import Namespace
from kybern.api.errors import About, AlreadyExists, not_found
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.admission.plugin import Plugin
from kybern.apiserver.request import Admission

REVIEWS = "authorization.k8s.io"


def is_in_namespace(admission: Admission) -> bool:
    kind = admission.resource.kind
    return bool(admission.namespace) and kind.type is not Namespace and kind.group != REVIEWS


class NamespaceAutoProvision(Plugin):
    name = "NamespaceAutoProvision"

    async def admit(self, admission: Admission) -> None:
        if admission.operation != "CREATE" or admission.dry_run or not is_in_namespace(admission):
            return
        if self.objects.get(Namespace, admission.namespace) is None:
            try:
                await self.objects.create(Namespace(metadata=ObjectMeta(name=admission.namespace)))
            except AlreadyExists:
                pass  # somebody else's write into it came first


class NamespaceExists(Plugin):
    name = "NamespaceExists"

    async def validate(self, admission: Admission) -> None:
        if is_in_namespace(admission) and self.objects.get(Namespace, admission.namespace) is None:
            raise not_found(About(resource="namespaces", name=admission.namespace))
