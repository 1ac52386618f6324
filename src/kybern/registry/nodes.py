"""nodes: machines that run pods. Who they are is set once; how they are, their kubelet tells."""

import re
from collections.abc import Callable, Iterator

from kybern.api import names
from kybern.api.core_v1 import Node, NodeSpec, NodeStatus, Taint
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, printed, required
from kybern.registry.address_warnings import all_cidr_warnings
from kybern.registry.checks import repeated
from kybern.registry.columns import AGE, NAME, NONE, UNKNOWN
from kybern.registry.defaulting import part
from kybern.registry.parts import PROXY_VERBS, changed, connect, keep_status, kind_of, status
from kybern.registry.podspec.amounts import validate_value
from kybern.registry.podspec.placement import TAINT_EFFECTS
from kybern.registry.resource import Column, Resource

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"
FEATURE = re.compile("[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*")
FEATURE_NAMES = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)


def default(node: Node) -> Node:
    return part(part(node, "status", default_status), "spec", default_spec)


def default_status(found: NodeStatus) -> NodeStatus:
    if found.allocatable is None and found.capacity is not None:
        return changed(found, allocatable=found.capacity)
    return found


def default_spec(spec: NodeSpec) -> NodeSpec:
    """One block of addresses, in its old place and in its new one."""
    if spec.pod_cidr and not spec.pod_cidrs:
        return changed(spec, pod_cidrs=(spec.pod_cidr,))
    if spec.pod_cidrs and not spec.pod_cidr:
        return changed(spec, pod_cidr=spec.pod_cidrs[0])
    return spec


def validate(node: Node) -> Iterator[FieldError]:
    if node.spec.taints:
        yield from validate_taints(node.spec.taints, "metadata.taints")
    for index, block in enumerate(node.spec.pod_cidrs or ()):
        for wrong in names.cidr(block):
            yield invalid_value(f"spec.podCIDRs[{index}]", block, wrong)
    blocks = node.spec.pod_cidrs or ()
    if len(blocks) > 1:
        if len(blocks) > 2 or (":" in blocks[0]) == (":" in blocks[1]):
            yield invalid_value("spec.podCIDRs", blocks, "may specify no more than one CIDR for each IP family")
        for index in sorted(repeated(blocks)):
            yield duplicate(f"spec.podCIDRs[{index}]", blocks[index])
    yield from validate_resources(node)


def validate_resources(node: Node) -> Iterator[FieldError]:
    for field, amounts in (("capacity", node.status.capacity), ("allocatable", node.status.allocatable)):
        for name, amount in (amounts or {}).items():
            yield from validate_value(name, amount, f"status.{field}.{name}")


def validate_taints(taints: tuple[Taint, ...], at: str) -> Iterator[FieldError]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        here = f"{at}[{index}]"
        for text in names.qualified_name(taint.key):
            yield invalid_value(f"{here}.key", taint.key, text)
        wrong = names.label_value(taint.value or "")
        if wrong:
            yield invalid_value(f"{here}.value", taint.value, ";".join(wrong))
        if not taint.effect:
            yield required(f"{here}.effect")
        elif taint.effect not in TAINT_EFFECTS:
            yield not_supported(f"{here}.effect", taint.effect, TAINT_EFFECTS)
        if (taint.key, taint.effect) in seen:
            yield duplicate(here, taint, "taints must be unique by key and effect pair")
        seen.add((taint.key, taint.effect))


def validate_update(node: Node, old: Node) -> Iterator[FieldError]:
    yield from validate(node)
    yield from validate_change(node, old)


def validate_change(node: Node, old: Node) -> Iterator[FieldError]:
    """Also of a write of the status alone."""
    yield from validate_resources(node)
    yield from validate_features(node.status.declared_features or (), "status.declaredFeatures")
    seen: set[tuple[str, str]] = set()
    for index, address in enumerate(node.status.addresses or ()):
        pair = (address.type, address.address)
        if pair in seen:
            yield duplicate(f"status.addresses[{index}]", address)
        seen.add(pair)
    new, before = node.spec, old.spec
    if before.pod_cidrs and new.pod_cidrs != before.pod_cidrs:
        yield forbidden_field("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.provider_id and new.provider_id != before.provider_id:
        yield forbidden_field("spec.providerID", 'node updates may not change providerID except from "" to valid')
    if node.spec.taints:
        yield from validate_taints(node.spec.taints, "metadata.taints")
    if new.external_id != before.external_id:
        yield forbidden_field("spec.externalID", "may not be updated")


def validate_features(features: tuple[str, ...], at: str) -> Iterator[FieldError]:
    """Names in their order, each once."""
    for index, feature in enumerate(features):
        here, before = f"{at}[{index}]", features[index - 1] if index else ""
        if index and feature == before:
            yield duplicate(here, feature)
        elif feature < before:
            yield invalid_value(here, feature, "list must be sorted alphabetically")
        if len(feature) > names.SUBDOMAIN_BYTES_MAX:
            limit = f"must be no more than {names.SUBDOMAIN_BYTES_MAX} characters"
            yield invalid_value(here, feature, f"invalid feature name {printed(feature)}: {limit}")
        elif FEATURE.fullmatch(feature) is None:
            yield invalid_value(here, feature, f"invalid feature name {printed(feature)}: {FEATURE_NAMES}")


def warnings(node: Node, old: Node | None) -> Iterator[str]:
    if node.spec.config_source is not None:
        yield "spec.configSource: the feature is removed"
    if node.spec.external_id:
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    yield from all_cidr_warnings("spec.podCIDRs", node.spec.pod_cidrs)


# --- columns ----------------------------------------------------------------------------------------------------------


def status_cell(node: Node, now: float) -> str:
    ready = [c.status == "True" for c in node.status.conditions or () if c.type == "Ready"]
    words = [("Ready" if ready[-1] else "NotReady") if ready else "Unknown"]
    if node.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def roles_cell(node: Node, now: float) -> str:
    roles = set()
    for key, value in (node.metadata.labels or {}).items():
        if key.startswith(ROLE_PREFIX) and len(key) > len(ROLE_PREFIX):
            roles.add(key[len(ROLE_PREFIX) :])
        elif key == ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def address(node: Node, type_: str) -> str:
    return next((a.address for a in node.status.addresses or () if a.type == type_), NONE)


def info(name: str, missing: str) -> Callable[[Node, float], str]:
    def cell(node: Node, now: float) -> str:
        found = node.status.node_info
        return (getattr(found, name) if found is not None else "") or missing

    return cell


NODES = Resource(
    kind=kind_of(Node),
    short_names=("no",),
    storage_prefix="/registry/minions",
    default=default,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    subresources=(connect("proxy", "NodeProxyOptions", PROXY_VERBS), status(validate=validate_change)),
    selectable={"spec.unschedulable": lambda node: "true" if node.spec.unschedulable else "false"},
    columns=(
        NAME,
        Column("Status", status_cell, description="The status of the node"),
        Column("Roles", roles_cell, description="The roles of the node"),
        AGE,
        Column("Version", info("kubelet_version", ""), of="core_v1.NodeSystemInfo.kubeletVersion"),
        Column(
            "Internal-IP", lambda node, now: address(node, "InternalIP"), priority=1, of="core_v1.NodeStatus.addresses"
        ),
        Column(
            "External-IP", lambda node, now: address(node, "ExternalIP"), priority=1, of="core_v1.NodeStatus.addresses"
        ),
        Column("OS-Image", info("os_image", UNKNOWN), priority=1, of="core_v1.NodeSystemInfo.osImage"),
        Column(
            "Kernel-Version", info("kernel_version", UNKNOWN), priority=1, of="core_v1.NodeSystemInfo.kernelVersion"
        ),
        Column(
            "Container-Runtime",
            info("container_runtime_version", UNKNOWN),
            priority=1,
            of="core_v1.NodeSystemInfo.containerRuntimeVersion",
        ),
    ),
)
