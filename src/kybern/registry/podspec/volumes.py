"""Volumes of a pod: a name and exactly one source, complete and without a way out of the pod's own folder."""

from collections.abc import Callable, Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import Volume
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import label_selector, named, no_backsteps, projected_path, relative_path
from kybern.registry.persistentvolumeclaims import validate_claim_spec
from kybern.registry.podspec.fields import VOLUME_FIELDS, validate_field_ref, validate_resource_ref

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MODE_RANGE = "must be a number between 0 and 0777 (octal), both inclusive"
TOKEN_SECONDS_MIN = 600
TOKEN_SECONDS_MAX = 2**32

Check = Callable[[Any, str], Iterator[FieldError]]


def validate_volumes(volumes: tuple[Volume, ...], at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{at}[{index}]"
        wrong = False
        for error in named(f"{here}.name", volume.name, names.dns1123_label):
            wrong = True
            yield error
        if volume.name in seen and not wrong:
            yield duplicate(f"{here}.name", volume.name)
        seen.add(volume.name)
        yield from validate_source(volume, here)


def validate_source(volume: Volume, at: str) -> Iterator[FieldError]:
    count = 0
    for field, name, check in SOURCES:
        source = getattr(volume, name)
        if source is None:
            continue
        count += 1
        if count > 1:
            yield forbidden_field(f"{at}.{field}", "may not specify more than 1 volume type")
        else:
            yield from check(source, f"{at}.{field}")
    if count == 0:
        yield required(at, "must specify a volume type")


def needs(*fields: str) -> Check:
    """These texts must not be empty: all there is to say about a source that somebody else's driver understands."""
    attributes = [(field, snake(field)) for field in fields]

    def check(source: Any, at: str) -> Iterator[FieldError]:
        for field, attribute in attributes:
            if not getattr(source, attribute):
                yield required(f"{at}.{field}")

    return check


def snake(field: str) -> str:
    text = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in field)
    return text.replace("_i_d", "_id").replace("_u_r_i", "_uri")


def validate_mode(mode: int | None, at: str) -> Iterator[FieldError]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid_value(at, mode, MODE_RANGE)


def validate_empty_dir(source: Any, at: str) -> Iterator[FieldError]:
    if source.size_limit is not None and source.size_limit.startswith("-"):
        yield forbidden_field(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")
    if source.medium and source.medium not in ("Memory", "HugePages") and not source.medium.startswith("HugePages-"):
        yield not_supported(f"{at}.medium", source.medium, ("", "HugePages", "Memory"))


def validate_host_path(source: Any, at: str) -> Iterator[FieldError]:
    if not source.path:
        yield required(f"{at}.path")
    else:
        yield from no_backsteps(f"{at}.path", source.path)
    if source.type and source.type not in HOST_PATH_TYPES:
        yield not_supported(f"{at}.type", source.type, HOST_PATH_TYPES)


def validate_secret(source: Any, at: str) -> Iterator[FieldError]:
    if not source.secret_name:
        yield required(f"{at}.secretName")
    yield from validate_files(source, at)


def validate_config_map(source: Any, at: str) -> Iterator[FieldError]:
    if not source.name:
        yield required(f"{at}.name")
    yield from validate_files(source, at)


def validate_files(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_mode(source.default_mode, f"{at}.defaultMode")
    yield from validate_items(source, at)


def validate_items(source: Any, at: str) -> Iterator[FieldError]:
    for index, item in enumerate(source.items or ()):
        here = f"{at}.items[{index}]"
        if not item.key:
            yield required(f"{here}.key")
        if not item.path:
            yield required(f"{here}.path")
        else:
            yield from projected_path(f"{here}.path", item.path)
        yield from validate_mode(item.mode, f"{here}.mode")


def validate_git_repo(source: Any, at: str) -> Iterator[FieldError]:
    if not source.repository:
        yield required(f"{at}.repository")
    yield from relative_path(f"{at}.directory", source.directory or "")


def validate_nfs(source: Any, at: str) -> Iterator[FieldError]:
    if not source.server:
        yield required(f"{at}.server")
    if not source.path:
        yield required(f"{at}.path")
    elif not source.path.startswith("/"):
        yield invalid_value(f"{at}.path", source.path, "must be an absolute path")


def validate_claim(source: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.claimName", source.claim_name, names.dns1123_subdomain)


def validate_downward_api(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_mode(source.default_mode, f"{at}.defaultMode")
    yield from validate_downward_files(source, at)


def validate_downward_files(source: Any, at: str) -> Iterator[FieldError]:
    for index, file in enumerate(source.items or ()):
        here = f"{at}.items[{index}]" if hasattr(source, "default_mode") else at
        if not file.path:
            yield required(f"{here}.path")
        yield from projected_path(f"{here}.path", file.path)
        if file.field_ref is not None:
            yield from validate_field_ref(file.field_ref, VOLUME_FIELDS, f"{here}.fieldRef")
            if file.resource_field_ref is not None:
                why = "fieldRef and resourceFieldRef can not be specified simultaneously"
                yield invalid_value(here, "resource", why)
        elif file.resource_field_ref is not None:
            yield from validate_resource_ref(file.resource_field_ref, f"{here}.resourceFieldRef", container_named=True)
        else:
            yield required(here, "one of fieldRef and resourceFieldRef is required")
        yield from validate_mode(file.mode, f"{here}.mode")


def validate_csi(source: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.driver", source.driver, lambda text: names.dns1123_subdomain(text.lower()))


def validate_ephemeral(source: Any, at: str) -> Iterator[FieldError]:
    template = source.volume_claim_template
    if template is None:
        yield required(f"{at}.volumeClaimTemplate")
    else:
        yield from validate_claim_spec(template.spec, f"{at}.volumeClaimTemplate.spec")


def validate_image(source: Any, at: str) -> Iterator[FieldError]:
    if not source.reference:
        yield required(f"{at}.reference")
    if source.pull_policy and source.pull_policy not in PULL_POLICIES:
        yield not_supported(f"{at}.pullPolicy", source.pull_policy, PULL_POLICIES)


# --- projected --------------------------------------------------------------------------------------------------------


def validate_projected(source: Any, at: str) -> Iterator[FieldError]:
    yield from validate_mode(source.default_mode, f"{at}.defaultMode")
    taken: set[str] = set()
    for index, projection in enumerate(source.sources or ()):
        here = f"{at}.sources[{index}]"
        count = 0
        for field, name, check in PROJECTIONS:
            part = getattr(projection, name)
            if part is None:
                continue
            count += 1
            if count > 1:
                yield forbidden_field(f"{here}.{field}", "may not specify more than 1 volume type per source")
                continue
            yield from check(part, f"{here}.{field}")
            for path in paths_of(part):
                if path and path in taken:
                    yield invalid_value(here, path, "conflicting duplicate paths")
                taken.add(path)
        if count == 0:
            yield required(here, "must specify a volume type per source")


def paths_of(part: Any) -> list[str]:
    return [item.path for item in getattr(part, "items", None) or ()] or [getattr(part, "path", "")]


def validate_named_files(part: Any, at: str) -> Iterator[FieldError]:
    if not part.name:
        yield required(f"{at}.name")
    yield from validate_items(part, at)


def validate_token(part: Any, at: str) -> Iterator[FieldError]:
    seconds = part.expiration_seconds
    if seconds is not None and seconds < TOKEN_SECONDS_MIN:
        yield invalid_value(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds is not None and seconds > TOKEN_SECONDS_MAX:
        yield invalid_value(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if not part.path:
        yield required(f"{at}.path")
    else:
        yield from projected_path(f"{at}.path", part.path)


def validate_trust_bundle(part: Any, at: str) -> Iterator[FieldError]:
    if part.name is None and part.signer_name is None:
        yield required(at, "either name or signerName must be specified")
    elif part.name is not None and part.signer_name is not None:
        yield invalid_value(at, part, "only one of name and signerName may be used")
    yield from label_selector(part.label_selector, f"{at}.labelSelector")
    if not part.path:
        yield required(f"{at}.path")
    else:
        yield from projected_path(f"{at}.path", part.path)


PROJECTIONS: tuple[tuple[str, str, Check], ...] = (
    ("secret", "secret", validate_named_files),
    ("configMap", "config_map", validate_named_files),
    ("downwardAPI", "downward_api", validate_downward_files),
    ("serviceAccountToken", "service_account_token", validate_token),
    ("clusterTrustBundle", "cluster_trust_bundle", validate_trust_bundle),
    ("podCertificate", "pod_certificate", needs("signerName", "keyType")),
)

SOURCES: tuple[tuple[str, str, Check], ...] = (
    ("emptyDir", "empty_dir", validate_empty_dir),
    ("hostPath", "host_path", validate_host_path),
    ("gitRepo", "git_repo", validate_git_repo),
    ("gcePersistentDisk", "gce_persistent_disk", needs("pdName")),
    ("awsElasticBlockStore", "aws_elastic_block_store", needs("volumeID")),
    ("secret", "secret", validate_secret),
    ("nfs", "nfs", validate_nfs),
    ("iscsi", "iscsi", needs("targetPortal", "iqn")),
    ("glusterfs", "glusterfs", needs("endpoints", "path")),
    ("flocker", "flocker", needs()),
    ("persistentVolumeClaim", "persistent_volume_claim", validate_claim),
    ("rbd", "rbd", needs("monitors", "image")),
    ("cinder", "cinder", needs("volumeID")),
    ("cephfs", "cephfs", needs("monitors")),
    ("quobyte", "quobyte", needs("registry", "volume")),
    ("downwardAPI", "downward_api", validate_downward_api),
    ("fc", "fc", needs()),
    ("flexVolume", "flex_volume", needs("driver")),
    ("configMap", "config_map", validate_config_map),
    ("azureFile", "azure_file", needs("secretName", "shareName")),
    ("vsphereVolume", "vsphere_volume", needs("volumePath")),
    ("photonPersistentDisk", "photon_persistent_disk", needs("pdID")),
    ("portworxVolume", "portworx_volume", needs("volumeID")),
    ("azureDisk", "azure_disk", needs("diskName", "diskURI")),
    ("storageos", "storageos", needs("volumeName")),
    ("scaleIO", "scale_io", needs("gateway", "system", "volumeName")),
    ("projected", "projected", validate_projected),
    ("csi", "csi", validate_csi),
    ("ephemeral", "ephemeral", validate_ephemeral),
    ("image", "image", validate_image),
)
