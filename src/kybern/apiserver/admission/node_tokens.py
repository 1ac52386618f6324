"""NodeRestriction, about tokens: a node's agent asks for those of its own pods only, each for an audience that the pod names.

A pod names audiences by its projected volumes and by the drivers of its volumes. For another one (to pull images, say)
the agent needs the right `request-serviceaccounts-token-audience`, whose resource is the audience.
"""

from collections.abc import Iterator

from kybern.api.authentication_v1 import TokenRequest
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod, Volume
from kybern.api.storage_v1 import CSIDriver
from kybern.apiserver.admission.plugin import Inputs, refused
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.request import Admission, Attributes, Objects

VERB = "request-serviceaccounts-token-audience"


def wrong_with_token(a: Admission, node: str, objects: Objects) -> Iterator[str]:
    bound = a.object.spec.bound_object_ref if isinstance(a.object, TokenRequest) else None
    if bound is None or (bound.api_version, bound.kind) != ("v1", "Pod") or not bound.name:
        yield "node requested token not bound to a pod"
        return
    if not bound.uid:
        yield "node requested token with a pod binding without a uid"
        return
    pod = objects.get(Pod, bound.name, a.namespace)
    if pod is None or pod.metadata.uid != bound.uid:
        found = pod.metadata.uid if pod else ""
        yield (
            f"the UID in the bound object reference ({bound.uid}) does not match the UID in record ({found}). "
            "The object might have been deleted and then recreated"
        )
    elif pod.spec.node_name != node:
        yield "node requested token bound to a pod scheduled on a different node"
    elif len(a.object.spec.audiences or ()) > 1:
        yield "node may only request 0 or 1 audiences"


async def check_audience(a: Admission, inputs: Inputs) -> None:
    """Of a request with which nothing else is wrong."""
    (audience,) = a.object.spec.audiences or ("",)
    pod = inputs.objects.get(Pod, a.object.spec.bound_object_ref.name, a.namespace)
    if pod is None or audience in audiences_of(pod, inputs.objects):
        return
    attributes = Attributes(
        user=a.user, verb=VERB, version="v1", resource=audience, namespace=a.namespace, name=a.name
    )  # fmt: skip
    if not audience or not (await decided(inputs.authorizer, attributes)).allowed:
        raise refused(a, f'audience "{audience}" not found in pod spec volume, {a.user.name} may not request it')


def audiences_of(pod: Pod, objects: Objects) -> Iterator[str]:
    for volume in pod.spec.volumes or ():
        for source in (volume.projected.sources if volume.projected else None) or ():
            if source.service_account_token:
                yield source.service_account_token.audience or ""
        driver = objects.get(CSIDriver, driver_of(volume, pod, objects))
        for request in (driver.spec.token_requests if driver else None) or ():
            yield request.audience


def driver_of(volume: Volume, pod: Pod, objects: Objects) -> str:
    """The CSI driver that mounts it; empty where none does."""
    if volume.csi:
        return volume.csi.driver
    name = volume.persistent_volume_claim.claim_name if volume.persistent_volume_claim else ""
    if volume.ephemeral:
        name = f"{pod.metadata.name}-{volume.name}"
    claim = objects.get(PersistentVolumeClaim, name, pod.metadata.namespace or "") if name else None
    bound = objects.get(PersistentVolume, claim.spec.volume_name) if claim and claim.spec.volume_name else None
    return bound.spec.csi.driver if bound and bound.spec.csi else ""
