"""NamespaceLifecycle: nothing is made in a namespace that does not exist or is on its way out; three are never deleted."""

from kybern.api.core_v1 import Namespace
from kybern.api.errors import About, not_found
from kybern.api.meta_v1 import StatusCause
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.request import Admission

IMMORTAL = ("default", "kube-system", "kube-public")
REVIEWS = "authorization.k8s.io"


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"

    async def admit(self, admission: Admission) -> None:
        """Before everything else, so that no other plugin fails for want of the namespace."""
        kind = admission.resource.kind
        if kind.type is Namespace:
            if admission.operation == "DELETE" and admission.name in IMMORTAL:
                raise refused(admission, "this namespace may not be deleted")
            return
        if not admission.namespace or admission.operation == "DELETE" or kind.group == REVIEWS:
            return
        namespace = self.objects.get(Namespace, admission.namespace)
        if namespace is None:
            raise not_found(About(resource="namespaces", name=admission.namespace))
        if admission.operation == "CREATE" and is_ending(namespace):
            raise ending(admission)


def is_ending(namespace: Namespace) -> bool:
    return namespace.metadata.deletion_timestamp is not None or namespace.status.phase == "Terminating"


def ending(admission: Admission) -> Exception:
    namespace = admission.namespace
    error = refused(admission, f"unable to create new content in namespace {namespace} because it is being terminated")
    cause = StatusCause(
        reason="NamespaceTerminating",
        message=f"namespace {namespace} is being terminated",
        field_="metadata.namespace",
    )
    error.causes = (cause,)
    return error
