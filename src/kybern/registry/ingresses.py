"""ingresses and ingressclasses: by which name and path a Service is reached from outside, and who sees to it."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import TypedLocalObjectReference
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required, too_long
from kybern.api.networking_v1 import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassParametersReference,
)
from kybern.registry.checks import domain_path, immutable, judged, named
from kybern.registry.columns import AGE, NAME, NONE, points_of
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
HOSTS_SHOWN_MAX = 3
CONTROLLER_BYTES_MAX = 250
BAD_PATH_PARTS = ("//", "/./", "/../", "%2f", "%2F")
BAD_PATH_ENDS = ("/..", "/.")


def validate_ingress(ingress: Ingress) -> Iterator[FieldError]:
    spec = ingress.spec
    if spec.default_backend is None and not spec.rules:
        yield invalid_value("spec", spec.rules, "either `defaultBackend` or `rules` must be specified")
    if spec.default_backend is not None:
        yield from validate_backend(spec.default_backend, "spec.defaultBackend")
    for index, rule in enumerate(spec.rules or ()):
        at = f"spec.rules[{index}]"
        yield from validate_host(rule.host, f"{at}.host")
        if rule.http is not None:
            if not rule.http.paths:
                yield required(f"{at}.http.paths")
            for place, path in enumerate(rule.http.paths):
                yield from validate_path(path, f"{at}.http.paths[{place}]")
    for index, tls in enumerate(spec.tls or ()):
        for place, host in enumerate(tls.hosts or ()):
            for wrong in host_rule(host)(host):
                yield invalid_value(f"spec.tls[{index}].hosts[{place}]", host, wrong)
        yield from judged(f"spec.tls[{index}].secretName", tls.secret_name, names.dns1123_subdomain)
    class_name = spec.ingress_class_name
    for wrong in names.dns1123_subdomain(class_name) if class_name is not None else ():
        yield invalid_value("spec.ingressClassName", class_name, wrong)


def validate_new_ingress(ingress: Ingress) -> Iterator[FieldError]:
    yield from validate_ingress(ingress)
    annotated = (ingress.metadata.annotations or {}).get(CLASS_ANNOTATION)
    if annotated is not None and ingress.spec.ingress_class_name not in (None, annotated):
        why = "must match `ingressClassName` when both are specified"
        yield invalid_value(f"annotations.{CLASS_ANNOTATION}", annotated, why)


def warnings(ingress: Ingress, old: Ingress | None) -> Iterator[str]:
    if CLASS_ANNOTATION in (ingress.metadata.annotations or {}):
        yield f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"


def host_rule(host: str) -> Any:
    return names.wildcard_subdomain if "*" in host else names.dns1123_subdomain


def validate_host(host: str | None, at: str) -> Iterator[FieldError]:
    if not host:
        return
    if not names.ip(host):
        yield invalid_value(at, host, "must be a DNS name, not an IP address")
    yield from judged(at, host, host_rule(host))


def validate_path(path: HTTPIngressPath, at: str) -> Iterator[FieldError]:
    text = path.path or ""
    if not path.path_type:
        yield required(f"{at}.pathType", "pathType must be specified")
        return
    if path.path_type in ("Exact", "Prefix"):
        if not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
        for bad in BAD_PATH_PARTS:
            if bad in text:
                yield invalid_value(f"{at}.path", text, f"must not contain '{bad}'")
        for bad in BAD_PATH_ENDS:
            if text.endswith(bad):
                yield invalid_value(f"{at}.path", text, f"cannot end with '{bad}'")
    elif path.path_type == "ImplementationSpecific":
        if text and not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
    else:
        yield not_supported(f"{at}.pathType", path.path_type, ("Exact", "ImplementationSpecific", "Prefix"))
    yield from validate_backend(path.backend, f"{at}.backend")


def validate_backend(backend: IngressBackend, at: str) -> Iterator[FieldError]:
    if backend.resource is not None and backend.service is not None:
        yield invalid_value(at, "", "cannot set both resource and service backends")
    elif backend.resource is not None:
        yield from validate_reference(backend.resource, f"{at}.resource")
    elif backend.service is None:
        yield invalid_value(at, "", "resource or service backend is required")
    else:
        yield from validate_service_backend(backend.service, at)


def validate_reference(
    ref: TypedLocalObjectReference | IngressClassParametersReference, at: str
) -> Iterator[FieldError]:
    for wrong in names.dns1123_subdomain(ref.api_group) if ref.api_group is not None else ():
        yield invalid_value(f"{at}.apiGroup", ref.api_group, wrong)
    yield from named(f"{at}.kind", ref.kind, names.path_segment)
    yield from named(f"{at}.name", ref.name, names.path_segment)


def validate_service_backend(service: Any, at: str) -> Iterator[FieldError]:
    yield from named(f"{at}.service.name", service.name, names.dns1123_label)
    port = service.port
    name, number = (port.name, port.number) if port is not None else (None, None)
    if name and number:
        yield invalid_value(at, "", "cannot set both port name & port number")
    elif name:
        yield from judged(f"{at}.service.port.name", name, names.port_name)
    elif number:
        for wrong in names.port_number(number):
            yield invalid_value(f"{at}.service.port.number", number, wrong)
    else:
        yield required(at, "port name or number is required")


def validate_status(ingress: Ingress, old: Ingress) -> Iterator[FieldError]:
    balancer = ingress.status.load_balancer
    for index, entry in enumerate((balancer.ingress or ()) if balancer is not None else ()):
        at = f"status.loadBalancer.ingress[{index}]"
        yield from judged(f"{at}.ip", entry.ip, names.ip)
        yield from judged(f"{at}.hostname", entry.hostname, names.dns1123_subdomain)
        if entry.hostname and not names.ip(entry.hostname):
            yield invalid_value(f"{at}.hostname", entry.hostname, "must be a DNS name, not an IP address")


def hosts_cell(ingress: Ingress, now: float) -> str:
    rules = ingress.spec.rules or ()
    named = [index for index, rule in enumerate(rules) if rule.host][:HOSTS_SHOWN_MAX]
    if not named:
        return "*"
    hosts = ",".join(rules[index].host or "" for index in named)
    if len(named) < HOSTS_SHOWN_MAX or named[-1] == len(rules) - 1:
        return hosts
    return f"{hosts} + {len(rules) - HOSTS_SHOWN_MAX} more..."


def address_cell(ingress: Ingress, now: float) -> str:
    return ",".join(points_of(ingress.status.load_balancer))


INGRESSES = Resource(
    kind=kind_of(Ingress),
    short_names=("ing",),
    storage_prefix="/registry/ingress",
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_new_ingress,
    validate_update=lambda ingress, old: validate_ingress(ingress),
    warnings=warnings,
    generation=spec_of,
    subresources=(status(validate=validate_status),),
    columns=(
        NAME,
        Column(
            "Class",
            lambda ingress, now: ingress.spec.ingress_class_name or NONE,
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column(
            "Hosts", hosts_cell, description="Hosts that incoming requests are matched against before the ingress rule"
        ),
        Column(
            "Address", address_cell, description="Address is a list containing ingress points for the load-balancer"
        ),
        Column(
            "Ports",
            lambda ingress, now: "80, 443" if ingress.spec.tls else "80",
            description="Ports of TLS configurations that open",
        ),
        AGE,
    ),
)


# --- ingressclasses ---------------------------------------------------------------------------------------------------


def default_class(found: IngressClass) -> IngressClass:
    parameters = found.spec.parameters
    if parameters is None or parameters.scope is not None:
        return found
    return changed(found, spec=changed(found.spec, parameters=changed(parameters, scope="Cluster")))


def validate_class(found: IngressClass) -> Iterator[FieldError]:
    controller = found.spec.controller
    if not controller:
        yield required("spec.controller")
    else:
        if len(controller) > CONTROLLER_BYTES_MAX:
            yield too_long("spec.controller", "", CONTROLLER_BYTES_MAX)
        yield from domain_path("spec.controller", controller)
    if found.spec.parameters is not None:
        yield from validate_parameters(found.spec.parameters, "spec.parameters")


def validate_parameters(parameters: IngressClassParametersReference, at: str) -> Iterator[FieldError]:
    yield from validate_reference(parameters, at)
    if parameters.scope == "Namespace":
        if parameters.namespace is None:
            yield required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            for wrong in names.dns1123_label(parameters.namespace):
                yield invalid_value(f"{at}.namespace", parameters.namespace, wrong)
    elif parameters.scope == "Cluster":
        if parameters.namespace is not None:
            yield forbidden_field(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
    else:
        yield not_supported(f"{at}.scope", parameters.scope, ("Cluster", "Namespace"))


def validate_class_update(found: IngressClass, old: IngressClass) -> Iterator[FieldError]:
    yield from immutable("spec.controller", found.spec.controller, old.spec.controller)
    yield from validate_class(found)


def parameters_cell(found: IngressClass, now: float) -> str:
    parameters = found.spec.parameters
    if parameters is None:
        return NONE
    kind = f"{parameters.kind}.{parameters.api_group}" if parameters.api_group else parameters.kind
    return f"{kind}/{parameters.name}"


INGRESS_CLASSES = Resource(
    kind=kind_of(IngressClass),
    default=default_class,
    validate=validate_class,
    validate_update=validate_class_update,
    generation=spec_of,
    columns=(
        NAME,
        Column(
            "Controller",
            lambda found, now: found.spec.controller or "",
            description="Controller that is responsible for handling this class",
        ),
        Column("Parameters", parameters_cell, description="A reference to a resource with additional parameters"),
        AGE,
    ),
)
