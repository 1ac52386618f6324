"""Storage that a driver understands: what is wrong with one source, in a pod's volume or in a persistent volume.

The two differ in their references alone: a pod's secret is beside it, a persistent volume's in a namespace that it names.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.registry.checks import between, judged, named, no_backsteps, relative_path

Check = Callable[[Any, str], Iterator[FieldError]]

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
DRIVER_NAME_MAX = 63
PORTAL_MAX = 64
TENANT_MAX = 64
INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$"),
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$"),
}
PORTAL_TOO_LONG = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
ADDRESSES = "must be a host:port pair or multiple pairs separated by commas"
CACHING_MODES = ("None", "ReadOnly", "ReadWrite")
DISK_KINDS = ("Dedicated", "Managed", "Shared")
MANAGED_DISK = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)  # fmt: skip
BLOB_DISK = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def needs(*fields: str) -> Check:
    """These texts must not be empty: all there is to say about many a source."""
    attributes = [(field, snake(field)) for field in fields]

    def check(source: Any, at: str) -> Iterator[FieldError]:
        for field, attribute in attributes:
            if not getattr(source, attribute):
                yield required(f"{at}.{field}")

    return check


def snake(field: str) -> str:
    text = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in field)
    return text.replace("_i_d", "_id").replace("_u_r_i", "_uri")


def validate_host_path(source: Any, at: str) -> Iterator[FieldError]:
    if not source.path:
        yield required(f"{at}.path")
        return
    yield from no_backsteps(f"{at}.path", source.path)
    if source.type and source.type not in HOST_PATH_TYPES:
        yield not_supported(f"{at}.type", source.type, HOST_PATH_TYPES)


def validate_local(source: Any, at: str) -> Iterator[FieldError]:
    if not source.path:
        yield required(f"{at}.path")
    else:
        yield from no_backsteps(f"{at}.path", source.path)


def validate_git_repo(source: Any, at: str) -> Iterator[FieldError]:
    if not source.repository:
        yield required(f"{at}.repository")
    yield from relative_path(f"{at}.directory", source.directory or "")


def validate_nfs(source: Any, at: str) -> Iterator[FieldError]:
    if not source.server:
        yield required(f"{at}.server")
    if not source.path:
        yield required(f"{at}.path")
    if not source.path.startswith("/"):
        yield invalid_value(f"{at}.path", source.path, "must be an absolute path")


def partitioned(field: str) -> Check:
    """A disk of a cloud, and perhaps one partition of it."""
    named_disk = needs(field)

    def check(source: Any, at: str) -> Iterator[FieldError]:
        yield from named_disk(source, at)
        if not 0 <= (source.partition or 0) <= 255:
            yield invalid_value(f"{at}.partition", source.partition, between(1, 255))

    return check


def validate_iscsi(source: Any, at: str) -> Iterator[FieldError]:
    if not source.target_portal:
        yield required(f"{at}.targetPortal")
    if not source.iqn:
        yield required(f"{at}.iqn")
    else:
        yield from validate_initiator(source.iqn, f"{at}.iqn")
    if not 0 <= source.lun <= 255:
        yield invalid_value(f"{at}.lun", source.lun, between(0, 255))
    if (source.chap_auth_discovery or source.chap_auth_session) and source.secret_ref is None:
        yield required(f"{at}.secretRef")
    if source.initiator_name is not None:
        yield from validate_initiator(source.initiator_name, f"{at}.initiatorname")


def validate_initiator(name: str, at: str) -> Iterator[FieldError]:
    pattern = INITIATORS.get(name[:3])
    if pattern is None:
        yield invalid_value(at, name, "must be valid format starting with iqn, eui, or naa")
    elif pattern.search(name) is None:
        yield invalid_value(at, name, "must be valid format")


def portal_too_long(source: Any, volume: str) -> bool:
    return source.initiator_name is not None and len(f"{volume}:{source.target_portal}") > PORTAL_MAX


def validate_fc(source: Any, at: str) -> Iterator[FieldError]:
    if not source.target_wwns and not source.wwids:
        yield required(f"{at}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if source.target_wwns and source.wwids:
        why = "targetWWNs and wwids can not be specified simultaneously"
        yield invalid_value(f"{at}.targetWWNs", source.target_wwns, why)
    if source.target_wwns:
        if source.lun is None:
            yield required(f"{at}.lun", "lun is required if targetWWNs is specified")
        elif not 0 <= source.lun <= 255:
            yield invalid_value(f"{at}.lun", source.lun, between(0, 255))


def validate_flocker(source: Any, at: str) -> Iterator[FieldError]:
    if not source.dataset_name and not source.dataset_uuid:
        yield required(at, "one of datasetName and datasetUUID is required")
    if source.dataset_name and source.dataset_uuid:
        yield invalid_value(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in (source.dataset_name or ""):
        yield invalid_value(f"{at}.datasetName", source.dataset_name, "must not contain '/'")


def validate_quobyte(source: Any, at: str) -> Iterator[FieldError]:
    if not source.registry:
        yield required(f"{at}.registry", ADDRESSES)
    elif len(source.tenant or "") > TENANT_MAX:
        yield required(f"{at}.tenant", f"must be a UUID and may not exceed a length of {TENANT_MAX} characters")
    else:
        for pair in source.registry.split(","):
            if pair.count(":") != 1 and not (pair.startswith("[") and "]:" in pair):
                yield invalid_value(f"{at}.registry", source.registry, ADDRESSES)
    if not source.volume:
        yield required(f"{at}.volume")


def validate_flex(source: Any, at: str) -> Iterator[FieldError]:
    if not source.driver:
        yield required(f"{at}.driver")
    for option in source.options or {}:
        domain = f".{option.partition('/')[0].lower()}"
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            why = "kubernetes.io and k8s.io namespaces are reserved"
            yield invalid_value(f"{at}.options[{option}]", option, why)


def validate_azure_file(source: Any, at: str) -> Iterator[FieldError]:
    yield from needs("secretName", "shareName")(source, at)
    if getattr(source, "secret_namespace", None) == "":
        yield required(f"{at}.secretNamespace")


def validate_azure_disk(source: Any, at: str) -> Iterator[FieldError]:
    yield from needs("diskName", "diskURI")(source, at)
    for field, value, choices in (
        ("cachingMode", source.caching_mode, CACHING_MODES),
        ("kind", source.kind, DISK_KINDS),
    ):
        if value is not None and value not in choices:
            yield not_supported(f"{at}.{field}", value, choices)
    start, shown = ("/subscriptions/", MANAGED_DISK) if source.kind == "Managed" else ("https://", BLOB_DISK)
    if source.kind is not None and not source.disk_uri.startswith(start):
        yield not_supported(f"{at}.diskURI", source.disk_uri, (shown,))


def validate_glusterfs(source: Any, at: str) -> Iterator[FieldError]:
    yield from needs("endpoints", "path")(source, at)
    namespace = getattr(source, "endpoints_namespace", None)
    if namespace == "":
        why = "if the endpointnamespace is set, it must be a valid namespace name"
        yield invalid_value(f"{at}.endpointsNamespace", namespace, why)
    yield from judged(f"{at}.endpointsNamespace", namespace, names.dns1123_label)


def with_reference(check: Check) -> Check:
    """And the secret that it refers to has a name, and a namespace where that can be said."""

    def checked(source: Any, at: str) -> Iterator[FieldError]:
        yield from check(source, at)
        ref = source.secret_ref
        if ref is not None:
            for field in ("name", "namespace"):
                if not getattr(ref, field, field):
                    yield required(f"{at}.secretRef.{field}")

    return checked


def validate_storageos(source: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.volumeName", source.volume_name, names.dns1123_label)
    yield from judged(f"{at}.volumeNamespace", source.volume_namespace, names.dns1123_label)


def validate_driver_name(driver: str, at: str) -> Iterator[FieldError]:
    if not driver:
        yield required(at)
    if len(driver) > DRIVER_NAME_MAX:
        yield too_long(at, driver, DRIVER_NAME_MAX)
    for wrong in names.dns1123_subdomain(driver.lower()):
        yield invalid_value(at, driver, wrong)


COMMON: tuple[tuple[str, str, Check], ...] = (
    ("hostPath", "host_path", validate_host_path),
    ("gcePersistentDisk", "gce_persistent_disk", lambda s, at: partitioned("pdName")(s, renamed(at, "persistentDisk"))),
    ("awsElasticBlockStore", "aws_elastic_block_store", partitioned("volumeID")),
    ("nfs", "nfs", validate_nfs),
    ("glusterfs", "glusterfs", validate_glusterfs),
    ("flocker", "flocker", validate_flocker),
    ("rbd", "rbd", needs("monitors", "image")),
    ("quobyte", "quobyte", validate_quobyte),
    ("cephfs", "cephfs", needs("monitors")),
    ("cinder", "cinder", with_reference(needs("volumeID"))),
    ("fc", "fc", validate_fc),
    ("flexVolume", "flex_volume", validate_flex),
    ("azureFile", "azure_file", validate_azure_file),
    ("vsphereVolume", "vsphere_volume", needs("volumePath")),
    ("photonPersistentDisk", "photon_persistent_disk", needs("pdID")),
    ("portworxVolume", "portworx_volume", needs("volumeID")),
    ("azureDisk", "azure_disk", validate_azure_disk),
    ("scaleIO", "scale_io", needs("gateway", "system", "volumeName")),
    ("storageos", "storageos", with_reference(validate_storageos)),
)
"""What pods and persistent volumes can both have: the field, its attribute, what is wrong with it."""


def renamed(at: str, field: str) -> str:
    return f"{at.rpartition('.')[0]}.{field}"


def validate_one_source(holder: Any, sources: tuple[tuple[str, str, Check], ...], at: str) -> Iterator[FieldError]:
    """Exactly one of them, and nothing wrong with the first."""
    count = 0
    for field, name, check in sources:
        source = getattr(holder, name)
        if source is None:
            continue
        count += 1
        if count > 1:
            yield forbidden_field(f"{at}.{field}", "may not specify more than 1 volume type")
        else:
            yield from check(source, f"{at}.{field}")
    if count == 0:
        yield required(at, "must specify a volume type")
