"""PersistentVolumeClaimResize: more storage can be asked for only where somebody can give it."""

from kybern.api import quantity
from kybern.api.core_v1 import PersistentVolumeClaim
from kybern.api.storage_v1 import StorageClass
from kybern.apiserver.admission.default_classes import STORAGE_BETA
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.request import Admission


class PersistentVolumeClaimResize(Plugin):
    name = "PersistentVolumeClaimResize"
    kinds = (PersistentVolumeClaim,)

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, PersistentVolumeClaim, "UPDATE"):
            return
        claim, old = admission.object, admission.old
        if quantity.compare(storage_of(claim), storage_of(old)) <= 0:
            return
        if old.status.phase != "Bound":
            raise refused(admission, "Only bound persistent volume claims can be expanded")
        name = (old.metadata.annotations or {}).get(STORAGE_BETA) or old.spec.storage_class_name or ""
        found = self.objects.get(StorageClass, name) if name else None
        if found is None or not found.allow_volume_expansion:
            why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
            raise refused(admission, f"{why} support resize")


def storage_of(claim: PersistentVolumeClaim) -> str:
    requests = claim.spec.resources.requests if claim.spec.resources is not None else None
    return (requests or {}).get("storage", "0")
