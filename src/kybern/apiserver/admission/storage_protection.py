"""StorageObjectInUseProtection: claims, volumes and VolumeAttributesClasses carry the finalizer that keeps them while they are in use."""

from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim
from kybern.api.storage_v1 import VolumeAttributesClass
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.request import Admission

FINALIZERS = {
    PersistentVolumeClaim: "kubernetes.io/pvc-protection",
    PersistentVolume: "kubernetes.io/pv-protection",
    VolumeAttributesClass: "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    kinds = tuple(FINALIZERS)

    async def admit(self, admission: Admission) -> None:
        for kind, finalizer in FINALIZERS.items():
            present = meta_of(admission.object).finalizers or () if is_write_of(admission, kind, "CREATE") else None
            if present is not None and finalizer not in present:
                admission.object = changed_meta(admission.object, finalizers=(*present, finalizer))
