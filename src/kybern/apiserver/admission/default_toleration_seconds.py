"""DefaultTolerationSeconds: a pod stays five minutes on a node that is lost, unless it says otherwise."""

from msgspec.structs import replace

from kybern.api.core_v1 import Pod, Toleration
from kybern.apiserver.admission.plugin import Plugin, is_write_of
from kybern.apiserver.request import Admission

SECONDS = 300
KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod):
            return
        pod: Pod = admission.object
        given = pod.spec.tolerations or ()
        missing = tuple(
            Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=SECONDS)
            for key in KEYS
            if not any(tolerates_loss(toleration, key) for toleration in given)
        )
        if missing:
            admission.object = replace(pod, spec=replace(pod.spec, tolerations=(*given, *missing)))


def tolerates_loss(toleration: Toleration, key: str) -> bool:
    return (toleration.key or "") in (key, "") and (toleration.effect or "") in ("NoExecute", "")
