"""AlwaysPullImages: every image is pulled with the pod's own credentials, so that nobody runs an image that only another
pod's credentials could have brought onto the node.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import Pod, PodSpec
from kybern.api.invalid import not_supported
from kybern.apiserver.admission.plugin import Plugin, refused
from kybern.apiserver.request import Admission

ALWAYS = "Always"
PARTS = ("init_containers", "containers", "ephemeral_containers")
FIELDS = {
    "init_containers": "initContainers",
    "containers": "containers",
    "ephemeral_containers": "ephemeralContainers",
}


class AlwaysPullImages(Plugin):
    name = "AlwaysPullImages"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        if brings_images(admission):
            pod: Pod = admission.object
            admission.object = replace(pod, spec=pulled(pod.spec))

    async def validate(self, admission: Admission) -> None:
        if not brings_images(admission):
            return
        for path, policy in policies(admission.object.spec):
            if policy != ALWAYS:
                raise refused(admission, str(not_supported(path, policy or "", [ALWAYS])))


def brings_images(admission: Admission) -> bool:
    """A pod's containers, and on a change only where one of the images is new."""
    if admission.resource.kind.type is not Pod or admission.subresource not in ("", "ephemeralcontainers"):
        return False
    if admission.operation == "CREATE":
        return True
    return admission.operation == "UPDATE" and not images(admission.object.spec) <= images(admission.old.spec)


def images(spec: PodSpec) -> set[str]:
    named = {container.image or "" for part in PARTS for container in getattr(spec, part) or ()}
    return named | {volume.image.reference or "" for volume in spec.volumes or () if volume.image}


def pulled(spec: PodSpec) -> PodSpec:
    return replace(
        spec,
        **{part: always(getattr(spec, part)) for part in PARTS},
        volumes=spec.volumes and tuple(
            replace(volume, image=replace(volume.image, pull_policy=ALWAYS)) if volume.image else volume
            for volume in spec.volumes
        ),
    )  # fmt: skip


def always(containers: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return containers and tuple(replace(container, image_pull_policy=ALWAYS) for container in containers)  # type: ignore[return-value]


def policies(spec: PodSpec) -> Iterator[tuple[str, str | None]]:
    for part in PARTS:
        for index, container in enumerate(getattr(spec, part) or ()):
            yield f"spec.{FIELDS[part]}[{index}].imagePullPolicy", container.image_pull_policy
    for index, volume in enumerate(spec.volumes or ()):
        if volume.image:
            yield f"spec.volumes[{index}].image.pullPolicy", volume.image.pull_policy
