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
DIVISORS = {
    "cpu": ("1m", "1"),
    "memory": ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}


def validate_field_ref(ref: ObjectFieldSelector, allowed: tuple[str, ...], at: str) -> Iterator[FieldError]:
    if not ref.api_version:
        yield required(f"{at}.apiVersion")
        return
    if not ref.field_path:
        yield required(f"{at}.fieldPath")
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
        yield invalid_value(
            f"{at}.fieldPath", whole, f'error converting fieldPath: field label does not support subscript: "{whole}"'
        )
        return
    key = subscript.lower() if path == "metadata.annotations" else subscript
    for wrong in names.qualified_name(key):
        yield invalid_value(f"{at}.fieldPath", subscript if path == "metadata.labels" else key, wrong)


def validate_resource_ref(ref: ResourceFieldSelector, at: str, container_named: bool) -> Iterator[FieldError]:
    if container_named and not ref.container_name:
        yield required(f"{at}.containerName")
        return
    if not ref.resource:
        yield required(f"{at}.resource")
        return
    huge = ref.resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    if not huge and ref.resource not in RESOURCE_FIELDS:
        yield not_supported(f"{at}.resource", ref.resource, RESOURCE_FIELDS)
    divisor = ref.divisor
    if divisor and divisor != "0":
        resource = "cpu" if ref.resource.endswith(".cpu") else "memory"
        if divisor not in DIVISORS[resource]:
            listed = "1m and 1 are" if resource == "cpu" else ", ".join(DIVISORS["memory"]) + " are"
            named = ref.resource.partition(".")[2]
            yield invalid_value(
                f"{at}.divisor", divisor, f"only divisor's values {listed} supported with the {named} resource"
            )
