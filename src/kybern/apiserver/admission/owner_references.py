"""OwnerReferencesPermissionEnforcement: owners decide what is deleted with them, so naming one takes the right to delete.

Who makes an owner wait for a dependant (`blockOwnerDeletion`) must be allowed to set the owner's finalizers.
"""

from collections.abc import Iterable
from typing import Any

from kybern.api.meta_v1 import OwnerReference
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.meta import meta_of
from kybern.apiserver.request import Admission, Attributes

UNSETTABLE = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
)
ANYBODYS = (("pods", "status"),)  # a kubelet's report; upstream looks at it no closer


class OwnerReferencesPermissionEnforcement(Plugin):
    name = "OwnerReferencesPermissionEnforcement"

    async def validate(self, admission: Admission) -> None:
        kind = admission.resource.kind
        if admission.operation not in ("CREATE", "UPDATE") or (kind.plural, admission.subresource) in ANYBODYS:
            return
        new, old = owners_of(admission.object), owners_of(admission.old)
        if set(new) == set(old):
            return
        if admission.operation != "CREATE" and not await self.may_delete(admission):
            raise refused(admission, "cannot set an ownerRef on a resource you can't delete: , <nil>")
        blocked = {owner.uid for owner in old if owner.block_owner_deletion}
        for owner in new:
            if owner.block_owner_deletion and owner.uid not in blocked:
                await self.check_blocking(admission, owner)

    async def may_delete(self, admission: Admission) -> bool:
        kind = admission.resource.kind
        asked = Attributes(
            user=admission.user, verb="delete", group=kind.group, version=kind.version, resource=kind.plural,
            namespace=admission.namespace, name=admission.name,
        )  # fmt: skip
        return (await decided(self.inputs.authorizer, asked)).allowed

    async def check_blocking(self, admission: Admission, owner: OwnerReference) -> None:
        group, _, version = owner.api_version.rpartition("/")
        kinds = [
            one.kind
            for one in self.objects.resources()
            if (one.kind.group, one.kind.version, one.kind.kind) == (group, version, owner.kind)
        ]
        if not kinds:
            raise refused(
                admission,
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
                f'APIVersion {owner.api_version} Kind {owner.kind}: no matches for kind "{owner.kind}" in version '
                f'"{owner.api_version}"',
            )
        for kind in kinds:
            asked = Attributes(
                user=admission.user, verb="update", group=group, version=version, resource=kind.plural,
                subresource="finalizers", namespace=admission.namespace if kind.namespaced else "", name=owner.name,
            )  # fmt: skip
            if not (await decided(self.inputs.authorizer, asked)).allowed:
                raise refused(admission, UNSETTABLE)


def owners_of(obj: Any) -> Iterable[OwnerReference]:
    return (meta_of(obj).owner_references or ()) if obj is not None else ()
