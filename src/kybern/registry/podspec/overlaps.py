"""Files of a volume that stand where others of it do, or beneath them: upstream's warnings, in its words."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from kybern.api.core_v1 import Volume, VolumeProjection

PAIRS_MAX = 100


class Placed(NamedTuple):
    path: str
    source: str = ""


def overlap_warnings(volumes: Iterable[Volume]) -> Iterator[str]:
    for volume in volumes:
        config, secret, downward = volume.config_map, volume.secret, volume.downward_api
        if config is not None:
            yield from overlapping(volume, f'ConfigMap "{config.name or ""}"', placed(config.items))
        if secret is not None:
            yield from overlapping(volume, f'Secret "{secret.secret_name or ""}"', placed(secret.items))
        if downward is not None:
            yield from overlapping(volume, "DownwardAPI", placed(downward.items))
        for source in (volume.projected.sources or ()) if volume.projected is not None else ():
            if source == VolumeProjection():
                yield f'volume "{volume.name}" (Projected) has no sources provided'
        if volume.projected is not None:
            files = [file for source in volume.projected.sources or () for file in files_of(source)]
            yield from overlapping(volume, "Projected", files)


def placed(items: Iterable[Any] | None, source: str = "") -> list[Placed]:
    return [Placed(item.path, source) for item in items or ()]


def files_of(source: VolumeProjection) -> list[Placed]:
    if source.config_map is not None and source.config_map.items is not None:
        return placed(source.config_map.items, f'ConfigMap "{source.config_map.name or ""}"')
    if source.secret is not None and source.secret.items is not None:
        return placed(source.secret.items, f'Secret "{source.secret.name or ""}"')
    if source.downward_api is not None and source.downward_api.items is not None:
        return placed(source.downward_api.items, "DownwardAPI")
    if source.service_account_token is not None:
        return [Placed(source.service_account_token.path, "ServiceAccountToken")]
    if source.cluster_trust_bundle is not None:
        bundle = source.cluster_trust_bundle
        return [Placed(bundle.path, f'ClusterTrustBundle "{bundle.name or bundle.signer_name or ""}"')]
    if source.pod_certificate is not None:
        found = source.pod_certificate
        files = (
            Placed(found.certificate_chain_path or "", "PodCertificate chain"),
            Placed(found.key_path or "", "PodCertificate key"),
            Placed(found.credential_bundle_path or "", "PodCertificate credential bundle"),
        )
        return [file for file in files if file.path]
    return []


def overlapping(volume: Volume, what: str, files: list[Placed]) -> Iterator[str]:
    for later, earlier in sorted(islice(pairs(files), PAIRS_MAX)):
        here, there = shown(files[later]), shown(files[earlier])
        yield f'volume "{volume.name}" ({what}): overlapping paths: {here} with {there}'


def pairs(files: list[Placed]) -> Iterator[tuple[int, int]]:
    """By the order of the paths what is beneath a folder comes right after it: nobody is compared with everybody."""
    order = sorted((f"{path}/", index) for index, path in enumerate(file.path.rstrip("/") for file in files) if path)
    above: list[tuple[str, int]] = []
    for path, index in order:
        while above and not path.startswith(above[-1][0]):
            above.pop()
        yield from ((max(index, other), min(index, other)) for _, other in above)
        above.append((path, index))


def shown(file: Placed) -> str:
    path = file.path.rstrip("/")
    return f'"{path}" ({file.source})' if file.source else f'"{path}"'
