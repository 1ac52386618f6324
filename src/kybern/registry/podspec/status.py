"""What a node says about a pod: known addresses, known claims, and nothing that has ended for good begins again."""

from collections.abc import Iterator, Sequence

from kybern.api import names
from kybern.api.core_v1 import Container, ContainerStatus, EphemeralContainer, LinuxContainerUser, Pod
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported
from kybern.api.numbers import INT32_MAX
from kybern.registry.checks import UINT32_MAX, between, immutable, repeated

OWN_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
HEALTHS = ("Healthy", "Unhealthy", "Unknown")
NOT_A_CLAIM = (
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' "
    "or 'claim:<claimName>' if request is empty"
)


def validate_pod_status(new: Pod, old: Pod) -> Iterator[FieldError]:
    now, before = new.status, old.status
    if now.conditions is not before.conditions and now.conditions != before.conditions:
        for index, condition in enumerate(now.conditions or ()):
            if condition.type not in OWN_CONDITIONS:
                for wrong in names.qualified_name(condition.type):
                    yield invalid_value(f"metadata.conditions[{index}].Type", condition.type, wrong)
    if now.nominated_node_name and now.nominated_node_name != before.nominated_node_name:
        for wrong in names.dns1123_subdomain(now.nominated_node_name):
            yield invalid_value("status.nominatedNodeName", now.nominated_node_name, wrong)
    yield from immutable("status.qosClass", now.qos_class, before.qos_class)
    for field, after, ago, containers in (
        ("containerStatuses", now.container_statuses, before.container_statuses, old.spec.containers),
        ("initContainerStatuses", now.init_container_statuses, before.init_container_statuses,
         old.spec.init_containers),
        ("ephemeralContainerStatuses", now.ephemeral_container_statuses, before.ephemeral_container_statuses, None),
    ):  # fmt: skip
        if after:
            yield from validate_ended(after, ago or (), containers or (), old, f"status.{field}")
            yield from validate_container_statuses(after, containers, new, f"status.{field}")
    yield from validate_claim_statuses(new)
    yield from validate_pod_ips(new)
    yield from validate_host_ips(new)


def validate_ended(
    new: Sequence[ContainerStatus], old: Sequence[ContainerStatus], containers: Sequence[Container], pod: Pod, at: str
) -> Iterator[FieldError]:
    """A container that has ended stays so, unless its restart policy has it run again."""
    policies = {container.name: container for container in containers}
    running = {status.name for status in new if status.state is None or status.state.terminated is None}
    for index, status in enumerate(old):
        if status.state is None or status.state.terminated is None or status.name not in running:
            continue
        container = policies.get(status.name)
        if not may_restart(container, pod.spec.restart_policy or "", status.state.terminated.exit_code, at):
            yield forbidden_field(f"{at}[{index}].state", "may not be transitioned to non-terminated state")


def may_restart(container: Container | None, of_pod: str, code: int, at: str) -> bool:
    if "ephemeral" in at:
        return False
    policy = of_pod
    if container is not None and container.restart_policy is not None:
        if container.restart_policy_rules:
            return True
        policy = container.restart_policy
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def validate_container_statuses(
    statuses: Sequence[ContainerStatus], containers: Sequence[Container] | None, pod: Pod, at: str
) -> Iterator[FieldError]:
    """`containers`: of the statuses; None: ephemeral ones, to which nothing is allocated."""
    windows = pod.spec.os is not None and pod.spec.os.name == "windows"
    known = {container.name: container for container in containers or ()}
    for index, status in enumerate(statuses):
        linux = status.user.linux if status.user is not None else None
        if linux is not None and windows:
            yield forbidden_field(f"{at}[{index}].linux", "cannot be set for a windows pod")
        elif linux is not None:
            yield from validate_linux_user(linux, f"{at}[{index}].linux")
        if status.allocated_resources_status:
            here = f"{at}[{index}].allocatedResourcesStatus"
            if containers is None:
                yield forbidden_field(here, "must not be specified in container status")
            else:
                yield from validate_allocated(status, known.get(status.name), here)


def validate_linux_user(user: LinuxContainerUser, at: str) -> Iterator[FieldError]:
    """The kernel's range for a user; that of the pod's own fields for groups."""
    if not 0 <= user.uid <= UINT32_MAX:
        yield invalid_value(f"{at}.uid", user.uid, between(0, UINT32_MAX))
    groups = [("gid", user.gid)]
    groups += [(f"supplementalGroups[{index}]", group) for index, group in enumerate(user.supplemental_groups or ())]
    for field, group in groups:
        if not 0 <= group <= INT32_MAX:
            yield invalid_value(f"{at}.{field}", group, between(0, INT32_MAX))


def validate_allocated(
    status: ContainerStatus, container: Container | EphemeralContainer | None, at: str
) -> Iterator[FieldError]:
    for index, allocated in enumerate(status.allocated_resources_status or ()):
        here = f"{at}[{index}]"
        if container is not None and allocated.name not in allocated_names(container):
            claim = allocated.name.startswith("claim:")
            why = NOT_A_CLAIM if claim else "must match one of the container's resource requests"
            yield invalid_value(f"{here}.name", allocated.name, why)
        seen: set[str] = set()
        for place, resource in enumerate(allocated.resources or ()):
            if resource.health not in HEALTHS:
                yield not_supported(f"{here}.resources[{place}].health", resource.health or "", HEALTHS)
            if resource.resource_id in seen:
                yield duplicate(f"{here}.resources[{place}].resourceID", resource.resource_id)
            seen.add(resource.resource_id)


def allocated_names(container: Container | EphemeralContainer) -> set[str]:
    resources = container.resources
    if resources is None:
        return set()
    claims = {f"claim:{claim.name}/{claim.request}" if claim.request else f"claim:{claim.name}"
              for claim in resources.claims or ()}  # fmt: skip
    return claims | set(resources.requests or {})


def validate_claim_statuses(pod: Pod) -> Iterator[FieldError]:
    known = {claim.name for claim in pod.spec.resource_claims or ()}
    seen: set[str] = set()
    for index, status in enumerate(pod.status.resource_claim_statuses or ()):
        here = f"status.resourceClaimStatuses[{index}].name"
        if status.name not in known:
            why = "must match the name of an entry in `spec.resourceClaims`"
            yield invalid_value(here, status.name, why)
        if status.name in seen:
            yield duplicate(here, status.name)
        seen.add(status.name)
        if status.resource_claim_name is not None:
            for wrong in names.dns1123_subdomain(status.resource_claim_name):
                yield invalid_value(here, status.resource_claim_name, wrong)


def validate_pod_ips(pod: Pod) -> Iterator[FieldError]:
    yield from validate_ips([found.ip for found in pod.status.pod_ips or ()], pod.status.pod_ips, "status.podIPs")


def validate_host_ips(pod: Pod) -> Iterator[FieldError]:
    ips = [found.ip for found in pod.status.host_ips or ()]
    if ips and ips[0] != (pod.status.host_ip or ""):
        yield invalid_value("status.hostIPs[0].ip", ips[0], "must be equal to `hostIP`")
    yield from validate_ips(ips, pod.status.host_ips, "status.hostIPs")


def validate_ips(ips: Sequence[str], shown: object, at: str) -> Iterator[FieldError]:
    """At most one of each family."""
    wrong, again = False, repeated(ips)
    for index, ip in enumerate(ips):
        for text in names.ip(ip):
            wrong = True
            yield invalid_value(f"{at}[{index}]", ip, text)
        if index in again:
            yield duplicate(f"{at}[{index}]", {"ip": ip})
    if len(ips) > 1 and not wrong and (len(ips) > 2 or (":" in ips[0]) == (":" in ips[1])):
        yield invalid_value(at, shown, "may specify no more than one IP for each IP family")
