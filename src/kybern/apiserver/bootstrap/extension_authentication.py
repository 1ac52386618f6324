"""kube-system/extension-apiserver-authentication: how an extension's API server knows whom to believe.

It reads there which authority clients' certificates come from, which one the front proxy's does (ours, when we pass a
request on), and in which headers the front proxy names the user.
"""

import json

from msgspec.structs import replace

from kybern.api.core_v1 import ConfigMap
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.request import Objects

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
FRONT_PROXY = "front-proxy-client"
"""The name in our certificate."""


def data(client_ca: str, front_proxy_ca: str) -> dict[str, str]:
    return {
        "client-ca-file": client_ca,
        "requestheader-allowed-names": json.dumps([FRONT_PROXY]),
        "requestheader-client-ca-file": front_proxy_ca,
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }


async def ensure_extension_authentication(objects: Objects, client_ca: str, front_proxy_ca: str) -> None:
    wanted = data(client_ca, front_proxy_ca)
    found = objects.get(ConfigMap, NAME, NAMESPACE)
    if found is None:
        await objects.create(ConfigMap(metadata=ObjectMeta(name=NAME, namespace=NAMESPACE), data=wanted))
    elif found.data != wanted:
        await objects.update(replace(found, data=wanted))
