"""Static pods as files: what a directory of manifests asks this node to run, whether or not there is an API server.

A pod's uid is a hash of its file, so a changed file is another pod. It may not refer to what only the API has.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod, Toleration
from kybern.api.names import dns1123_subdomain
from kybern.api.yaml import parse
from kybern.registry.pods import PODS
from kybern.volumes.paths import source_of

HASH, SEEN, SOURCE, MIRROR = (f"kubernetes.io/config.{name}" for name in ("hash", "seen", "source", "mirror"))
FILE_BYTES_MAX = 10 << 20
FILES_MAX = 500
OF_THE_API = frozenset({"secret", "config_map", "persistent_volume_claim", "ephemeral"})


@dataclass(frozen=True, slots=True)
class Manifests:
    pods: Mapping[str, Pod]
    """By uid."""
    faults: Mapping[str, str]
    """By file: why it is no pod."""


def read_manifests(directory: str, node_name: str) -> Manifests:
    pods: dict[str, Pod] = {}
    faults: dict[str, str] = {}
    for path in manifest_files(directory):
        try:
            with open(path, "rb") as opened:
                pod = static_pod(opened.read(FILE_BYTES_MAX), path, node_name)
            pods[pod.metadata.uid or ""] = pod
        except (OSError, ValueError, TypeError) as error:
            faults[path] = str(error)
    return Manifests(pods, faults)


def manifest_files(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []
    return [f"{directory}/{name}" for name in names[:FILES_MAX]]


def static_pod(content: bytes, path: str, node_name: str) -> Pod:
    """ValueError where the file is no pod that this node can run."""
    value, _ = parse(content)
    if not isinstance(value, dict) or value.get("kind") != "Pod":
        raise ValueError("not a Pod")
    pod = PODS.default(from_builtins(Pod, value))
    uid = hashlib.sha256(f"{node_name}\0{path}\0".encode() + content).hexdigest()[:32]
    meta = replace(
        pod.metadata,
        name=f"{pod.metadata.name}-{node_name.lower()}",
        namespace=pod.metadata.namespace or "default",
        uid=uid,
        generation=1,
        annotations={**(pod.metadata.annotations or {}), HASH: uid, SOURCE: "file"},
    )
    stays = Toleration(operator="Exists", effect="NoExecute")
    spec = replace(pod.spec, node_name=node_name, tolerations=(*(pod.spec.tolerations or ()), stays))
    found: Pod = PODS.on_create(replace(pod, metadata=meta, spec=spec))
    wrong = [*map(str, PODS.validate(found)), *dns1123_subdomain(found.metadata.name or ""), *_references(found)]
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def _references(pod: Pod) -> Iterator[str]:
    if pod.spec.service_account_name:
        yield "static pods may not reference service accounts"
    for volume in pod.spec.volumes or ():
        if source_of(volume) in OF_THE_API:
            yield f'static pods may not reference other API objects: volume "{volume.name}"'
    for container in (*pod.spec.containers, *(pod.spec.init_containers or ())):
        froms = [s for s in container.env_from or () if s.config_map_ref or s.secret_ref]
        values = [v.value_from for v in container.env or () if v.value_from]
        if froms or any(v.config_map_key_ref or v.secret_key_ref for v in values):
            yield f'static pods may not reference other API objects: container "{container.name}"'


def is_mirror(pod: Pod | None) -> bool:
    return pod is not None and MIRROR in (pod.metadata.annotations or {})


def is_static(pod: Pod) -> bool:
    return (pod.metadata.annotations or {}).get(SOURCE) == "file"
