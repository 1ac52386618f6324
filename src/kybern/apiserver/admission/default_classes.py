"""DefaultStorageClass and DefaultIngressClass: who names no class gets the one that is marked as the default.

Where several are marked, the newest counts, and among equally new ones the first by name.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import PersistentVolumeClaim
from kybern.api.networking_v1 import Ingress, IngressClass
from kybern.api.storage_v1 import StorageClass
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.request import Admission

DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"
DEFAULT_STORAGE_BETA = "storageclass.beta.kubernetes.io/is-default-class"
STORAGE_BETA = "volume.beta.kubernetes.io/storage-class"
DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
INGRESS_BETA = "kubernetes.io/ingress.class"


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    kinds = (PersistentVolumeClaim,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, PersistentVolumeClaim, "CREATE"):
            return
        claim: PersistentVolumeClaim = admission.object
        if claim.spec.storage_class_name is not None or STORAGE_BETA in (claim.metadata.annotations or {}):
            return
        name = default_of(self.objects.list(StorageClass), (DEFAULT_STORAGE, DEFAULT_STORAGE_BETA))
        if name:
            admission.object = replace(claim, spec=replace(claim.spec, storage_class_name=name))


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    kinds = (Ingress,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Ingress, "CREATE"):
            return
        ingress: Ingress = admission.object
        if ingress.spec.ingress_class_name is not None or INGRESS_BETA in (ingress.metadata.annotations or {}):
            return
        name = default_of(self.objects.list(IngressClass), (DEFAULT_INGRESS,))
        if name:
            admission.object = replace(ingress, spec=replace(ingress.spec, ingress_class_name=name))


def default_of(classes: Iterable[Any], annotations: tuple[str, ...]) -> str:
    marked = sorted(
        (
            known.metadata
            for known in classes
            if any((known.metadata.annotations or {}).get(key) == "true" for key in annotations)
        ),
        key=lambda metadata: metadata.name,
    )
    newest = max(marked, key=lambda metadata: metadata.creation_timestamp or "", default=None)
    return newest.name if newest else ""
