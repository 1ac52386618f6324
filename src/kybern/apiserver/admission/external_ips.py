"""DenyServiceExternalIPs: nobody leads an address that is not the cluster's to a Service; those that do already may stay."""

from kybern.api.core_v1 import Service
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.request import Admission


class DenyServiceExternalIPs(Plugin):
    name = "DenyServiceExternalIPs"
    kinds = (Service,)

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, Service):
            return
        before = (admission.old.spec.external_ips or ()) if admission.old is not None else ()
        if set(admission.object.spec.external_ips or ()) - set(before):
            raise refused(admission, "Use of external IPs is denied by admission control")
