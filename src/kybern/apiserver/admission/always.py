"""AlwaysAdmit and AlwaysDeny: upstream's oldest two, which it keeps for those who name them."""

from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.request import Admission


class AlwaysAdmit(Plugin):
    name = "AlwaysAdmit"


class AlwaysDeny(Plugin):
    name = "AlwaysDeny"

    async def admit(self, admission: Admission) -> None:
        raise refused(admission, "admission control is denying all modifications")

    async def validate(self, admission: Admission) -> None:
        raise refused(admission, "admission control is denying all modifications")
