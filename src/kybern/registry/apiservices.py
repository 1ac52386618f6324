"""apiservices: which server answers for a group and version, this one or one behind a Service."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.apiregistration_v1 import APIService, APIServiceCondition, APIServiceStatus
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.registry.checks import judged
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

LOCAL = APIServiceCondition(
    type="Available", status="True", reason="Local", message="Local APIServices are always available"
)
GROUP_PRIORITY_MAX = 20000
VERSION_PRIORITY_MAX = 1000


def default_service(service: APIService) -> APIService:
    spec = part(service.spec, "service", lambda ref: filled(ref, port=443))
    return service if spec is service.spec else changed(service, spec=spec)


def create_service(service: APIService) -> APIService:
    """What this server serves itself is there at once."""
    local = APIServiceStatus(conditions=(LOCAL,)) if service.spec.service is None else APIServiceStatus()
    return changed(service, status=local)


def validate_service(service: APIService) -> Iterator[FieldError]:
    spec = service.spec
    wanted = f"{spec.version or ''}.{spec.group or ''}"
    if service.metadata.name != wanted:
        yield invalid_value(
            "metadata.name", service.metadata.name, f'must be `spec.version+"."+spec.group`: "{wanted}"'
        )
    if not spec.version:
        yield required("spec.version")
    yield from judged("spec.version", spec.version, names.dns1035_label)
    if not 0 < spec.group_priority_minimum <= GROUP_PRIORITY_MAX:
        why = f"must be positive and less than {GROUP_PRIORITY_MAX}"
        yield invalid_value("spec.groupPriorityMinimum", spec.group_priority_minimum, why)
    if not 0 < spec.version_priority <= VERSION_PRIORITY_MAX:
        why = f"must be positive and less than {VERSION_PRIORITY_MAX}"
        yield invalid_value("spec.versionPriority", spec.version_priority, why)
    if spec.service is None:
        if spec.ca_bundle:
            yield invalid_value(
                "spec.caBundle", f"{len(spec.ca_bundle)} bytes", "local APIServices may not have a caBundle"
            )
        if spec.insecure_skip_tls_verify:
            yield invalid_value(
                "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
            )
        return
    for field, value in (("namespace", spec.service.namespace), ("name", spec.service.name)):
        if not value:
            yield required(f"spec.service.{field}")
    if spec.insecure_skip_tls_verify and spec.ca_bundle:
        yield invalid_value("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def service_cell(service: APIService, now: float) -> str:
    ref = service.spec.service
    return f"{ref.namespace}/{ref.name}" if ref is not None else "Local"


def available_cell(service: APIService, now: float) -> str:
    for condition in service.status.conditions or ():
        if condition.type == "Available":
            told = condition.status != "True" and condition.reason
            return f"{condition.status} ({condition.reason})" if told else condition.status
    return "Unknown"


API_SERVICES = Resource(
    kind=kind_of(APIService),
    version_needed=True,
    categories=("api-extensions",),
    storage_prefix="/registry/apiregistration.k8s.io/apiservices",
    default=default_service,
    on_create=create_service,
    on_update=keep_status,
    validate=validate_service,
    validate_name=names.path_segment,
    subresources=(status("all"),),
    columns=(
        NAME,
        Column("Service", service_cell, description="The reference to the service that hosts this API endpoint."),
        Column("Available", available_cell, description="Whether this service is available."),
        AGE,
    ),
)
