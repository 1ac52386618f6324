"""The namespaces of every cluster."""

from kybern.api.core_v1 import Namespace
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.bootstrap.create import ensure, in_parallel
from kybern.apiserver.request import Objects

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def ensure_namespaces(objects: Objects) -> None:
    await in_parallel(*(ensure(objects, Namespace(metadata=ObjectMeta(name=name))) for name in NAMESPACES))
