"""Images are pinned: `latest` is refused, and what has no limits gets some.

kybern up --extension examples/05-extensions/pinned_images.py
kubectl run web --image=nginx                     # refused, in your words
kubectl run web --image=nginx:1.27                # has limits that nobody wrote
"""

from msgspec.structs import replace

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.extensions import Refused, mutates, validates


@validates(Pod)
def pinned(pod: Pod) -> None:
    for container in pod.spec.containers:
        _, _, tag = (container.image or "").rpartition("/")[2].partition(":")
        if tag in ("", "latest"):
            raise Refused(f"container {container.name!r}: pin {container.image!r}, it changes under you")


@mutates(Pod)
def limited(pod: Pod) -> Pod:
    return replace(pod, spec=replace(pod.spec, containers=tuple(map(with_limits, pod.spec.containers))))


def with_limits(container: Container) -> Container:
    if container.resources and container.resources.limits:
        return container
    return replace(container, resources=ResourceRequirements(limits={"memory": "256Mi"}, requests={"memory": "64Mi"}))
