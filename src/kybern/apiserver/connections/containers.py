"""Which container of a pod is meant; refused in upstream's words where that cannot be told."""

from kybern.api.core_v1 import Pod
from kybern.api.errors import About, BadRequest, not_found
from kybern.apiserver.request import ApiRequest, Objects


def pod_of(objects: Objects, request: ApiRequest) -> Pod:
    at = request.attributes
    pod = objects.get(Pod, at.name, at.namespace)
    if pod is None:
        raise not_found(About(resource="pods", name=at.name, kind="Pod"))
    return pod


def container_of(pod: Pod, asked: str) -> str:
    name, spec = pod.metadata.name, pod.spec
    names = [container.name for container in spec.containers]
    first = [container.name for container in spec.init_containers or ()]
    added = [container.name for container in spec.ephemeral_containers or ()]
    if asked:
        if asked not in (*names, *first, *added):
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) == 1:
        return names[0]
    choices = f"a container name must be specified for pod {name}"
    if names:
        choices += f", choose one of: [{' '.join(names)}]"
    if first:
        choices += f" or one of the init containers: [{' '.join(first)}]"
    raise BadRequest(choices)


def node_of(pod: Pod) -> str:
    if not pod.spec.node_name:
        raise BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
    return pod.spec.node_name
