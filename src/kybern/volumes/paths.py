"""Where a pod's volumes are on the node: `<pods>/<uid>/volumes/<plugin>/<volume>`, upstream's own layout.

Names come from users, so each must be a single name: nothing here ever joins one that could lead elsewhere.
"""

import re

from kybern.api.core_v1 import Volume

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")

# The volume source's field -> the directory of its plugin.
PLUGINS: dict[str, str] = {
    "config_map": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downward_api": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
    "empty_dir": "kubernetes.io~empty-dir",
    "host_path": "kubernetes.io~host-path",
    "image": "kubernetes.io~image",
}

CONTENT = frozenset({"config_map", "secret", "downward_api", "projected"})
"""Sources whose files the kubelet writes; containers may only read them."""


def single(name: str) -> str:
    """The name itself; ValueError where it is not one plain path component."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a directory")
    return name


def source_of(volume: Volume) -> str:
    """The field of the volume that is set; empty where it is of a kind that no driver here serves."""
    return next((field for field in PLUGINS if getattr(volume, field) is not None), "")


def pod_directory(pods: str, uid: str) -> str:
    return f"{pods}/{single(uid)}"


def volume_directory(pods: str, uid: str, volume: Volume) -> str:
    return f"{pod_directory(pods, uid)}/volumes/{PLUGINS[source_of(volume)]}/{single(volume.name)}"


def ready_mark(pods: str, uid: str, volume: Volume) -> str:
    """A file that says that the volume was set up to its end."""
    return f"{pod_directory(pods, uid)}/plugins/{PLUGINS[source_of(volume)]}/{single(volume.name)}/ready"


def sub_path_target(pods: str, uid: str, volume: str, container: str, index: int) -> str:
    return f"{pod_directory(pods, uid)}/volume-subpaths/{single(volume)}/{single(container)}/{index}"
