"""References from a pod to itself: `fieldRef` and `resourceFieldRef`, in variables and in volumes."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import ObjectFieldSelector, ResourceFieldSelector
from kybern.api.invalid import FieldError, invalid_value, not_supported, required

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
KNOWN_FIELDS = {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}
RESOURCE_FIELDS = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
CPU_DIVISORS = ("1m", "1")
BYTES_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
DIVISORS = {
    "cpu": (CPU_DIVISORS, "1m and 1 are supported with the cpu resource"),
    "memory": (BYTES_DIVISORS, f"{', '.join(BYTES_DIVISORS)} are supported with the memory resource"),
    "ephemeral-storage": (
        BYTES_DIVISORS,
        f"{', '.join(BYTES_DIVISORS)} are supported with the local ephemeral storage resource",
    ),
    "hugepages": (BYTES_DIVISORS, f"{', '.join(BYTES_DIVISORS)} are supported with the hugepages resource"),
}


def validate_field_ref(ref: ObjectFieldSelector, allowed: tuple[str, ...], at: str) -> Iterator[FieldError]:
    if not ref.api_version:
        yield required(f"{at}.apiVersion")
        return
    if not ref.field_path:
        yield required(f"{at}.fieldPath")
        return
    if ref.api_version != "v1":
        why = f"error converting fieldPath: unsupported pod version: {ref.api_version}"
        yield invalid_value(f"{at}.fieldPath", ref.field_path, why)
        return
    path, subscript = split_subscript(ref.field_path)
    if subscript is not None:
        yield from validate_subscript(path, subscript, ref.field_path, at)
    elif path not in KNOWN_FIELDS:
        why = f"error converting fieldPath: field label not supported: {path}"
        yield invalid_value(f"{at}.fieldPath", ref.field_path, why)
    elif path not in allowed:
        yield not_supported(f"{at}.fieldPath", path, sorted(allowed))


def split_subscript(path: str) -> tuple[str, str | None]:
    """`metadata.labels['app']` is `metadata.labels` and `app`."""
    if not path.endswith("']") or "['" not in path:
        return path, None
    base, _, subscript = path[:-2].partition("['")
    return base, subscript


def validate_subscript(path: str, subscript: str, whole: str, at: str) -> Iterator[FieldError]:
    if path not in ("metadata.annotations", "metadata.labels"):
        why = f"error converting fieldPath: field label does not support subscript: {whole}"
        yield invalid_value(f"{at}.fieldPath", whole, why)
        return
    key = subscript.lower() if path == "metadata.annotations" else subscript
    for wrong in names.qualified_name(key):
        yield invalid_value(at, key, wrong)


def validate_resource_ref(ref: ResourceFieldSelector, at: str, container_named: bool) -> Iterator[FieldError]:
    huge = ref.resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    if container_named and not ref.container_name:
        yield required(f"{at}.containerName")
    elif not ref.resource:
        yield required(f"{at}.resource")
    elif not huge and ref.resource not in RESOURCE_FIELDS:
        yield not_supported(f"{at}.resource", ref.resource, RESOURCE_FIELDS)
    divisors, listed = DIVISORS.get("hugepages" if huge else ref.resource.partition(".")[2], ((), ""))
    if divisors and ref.divisor not in (None, "0", *divisors):
        yield invalid_value(f"{at}.divisor", ref.resource, f"only divisor's values {listed}")
