"""The admission plugins: what they fill in, and what they refuse in which words."""

import base64
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from kybern.aio.clock import LoopClock, rfc3339
from kybern.aio.ids import Ids
from kybern.api.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestSpec
from kybern.api.certificates_v1 import CertificateSigningRequest
from kybern.api.codec import from_builtins
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import (
    LimitRange,
    Namespace,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ResourceQuota,
    ServiceAccount,
)
from kybern.api.errors import ApiError, Forbidden, NotFound
from kybern.api.kinds import KINDS
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.node_v1 import RuntimeClass
from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject
from kybern.api.resource_v1 import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from kybern.api.scheduling_v1 import PriorityClass
from kybern.api.storage_v1 import CSIDriver, StorageClass
from kybern.apiserver.admission.order import ADMISSION, admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.machine import concerned
from kybern.apiserver.request import Admission, User
from kybern.registry.resource import Resource
from kybern.testing.memory_objects import MemoryObjects

RESOURCES = {kind.type: Resource(kind=kind) for kind in KINDS}
JANE = User("jane", ("system:authenticated",))
NODE_ONE = User("system:node:n1", ("system:nodes", "system:authenticated"))


class ServedObjects(MemoryObjects):
    def resources(self) -> Iterable[Resource]:
        return RESOURCES.values()


class World:
    def __init__(self, *objects: Any) -> None:
        self.objects = ServedObjects(
            Namespace(metadata=ObjectMeta(name="x")),
            Namespace(metadata=ObjectMeta(name="kube-node-lease")),
            ServiceAccount(metadata=ObjectMeta(name="default", namespace="x"), automount_service_account_token=False),
            *objects,
        )
        rbac = following(self.objects)
        self.plugins = admission_plugins(
            Inputs(
                objects=self.objects,
                authorizer=Authorizers((rbac,)),
                rbac=rbac,
                clock=LoopClock(),
                ids=Ids(1),
                callouts=Callouts(self.objects, Random(1), pods_reachable=False),
            )
        )

    def admission(self, obj: Any, old: Any = None, *, user: User = JANE, sub: str = "", **more: Any) -> Admission:
        about = obj if obj is not None else old
        operation = "DELETE" if obj is None else "UPDATE" if old is not None else "CREATE"
        given = {
            "operation": operation, "resource": RESOURCES.get(type(about)), "name": about.metadata.name or "",
            "namespace": about.metadata.namespace or "",
        }  # fmt: skip
        return Admission(user=user, subresource=sub, object=obj, old=old, dry_run=False, **{**given, **more})

    async def run(self, asked: Admission) -> Admission:
        plugins = list(concerned(self.plugins, asked.resource.kind.type))
        for plugin in plugins:
            await plugin.admit(asked)
        for plugin in plugins:
            await plugin.validate(asked)
        return asked

    async def admit(self, obj: Any, old: Any = None, **more: Any) -> Any:
        return (await self.run(self.admission(obj, old, **more))).object

    async def refused(self, obj: Any, old: Any = None, **more: Any) -> str:
        with pytest.raises(ApiError) as refused:
            await self.admit(obj, old, **more)
        return refused.value.message


def pod(name: str = "web", /, annotations: dict[str, str] | None = None, **spec: Any) -> Pod:
    containers = spec.pop("containers", [{"name": "c", "image": "i"}])
    metadata = {"name": name, "namespace": "x", "annotations": annotations or {}}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": containers, **spec}})


def build(kind: type[Any], name: str, body: dict[str, Any] | None = None, namespace: str = "") -> Any:
    return from_builtins(kind, {"metadata": {"name": name, "namespace": namespace or None}, **(body or {})})


def test_every_plugin_has_upstream_s_name_where_it_has_one() -> None:
    assert [plugin.name for plugin in World().plugins] == [
        "NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition",
        "PodSecurity", "Priority", "DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection",
        "PersistentVolumeClaimResize",
        "RuntimeClass", "CertificateRequester", "CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest",
        "CertificateSubjectRestriction", "DefaultIngressClass", "PodTopologyLabels", "NodeDeclaredFeatureValidator",
        "PodResizeValidator", "DeviceTaintTimes", "VolumePhaseTimes",
        "MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "RBACEscalation",
        "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
    ]  # fmt: skip
    assert len(ADMISSION) == 42


# VolumePhaseTimes


@pytest.mark.parametrize(
    ("phase", "told", "since"),
    [
        ("Available", None, "2020-01-01T00:00:00Z"), ("Available", "2021-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("Bound", None, "now"), ("Bound", "2020-01-01T00:00:00Z", "now"),
        ("Bound", "2021-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
    ],
)  # fmt: skip
async def test_a_volume_says_since_when_it_is_in_its_phase(phase: str, told: str | None, since: str) -> None:
    world, now = World(), rfc3339(LoopClock().wall())
    early = "2020-01-01T00:00:00Z"
    made = await world.admit(build(PersistentVolume, "v", {"status": {"lastPhaseTransitionTime": early}}))
    assert made.status.last_phase_transition_time == now
    old = build(PersistentVolume, "v", {"status": {"phase": "Available", "lastPhaseTransitionTime": early}})
    new = build(PersistentVolume, "v", {"status": {"phase": phase, "lastPhaseTransitionTime": told}})
    written = await world.admit(new, old=old, sub="status")
    assert written.status.last_phase_transition_time == (now if since == "now" else since)


# DeviceTaintTimes


async def test_a_taint_of_a_device_says_since_when_it_is_there_and_a_new_one_counts_anew() -> None:
    world = World()
    now = rfc3339(LoopClock().wall())
    taint = {"key": "worn", "effect": "NoSchedule"}
    rule = await world.admit(build(DeviceTaintRule, "worn", {"spec": {"taint": taint}}))
    assert rule.spec.taint.time_added == now
    early = replace(rule, spec=replace(rule.spec, taint=replace(rule.spec.taint, time_added="2020-01-01T00:00:00Z")))
    assert (await world.admit(early, old=early)).spec.taint.time_added == "2020-01-01T00:00:00Z"
    worse = replace(early, spec=replace(early.spec, taint=replace(early.spec.taint, effect="NoExecute")))
    assert (await world.admit(worse, old=early)).spec.taint.time_added == now
    spec = {"driver": "d", "pool": {"name": "p"}, "nodeName": "n", "devices": [{"name": "x", "taints": [taint]}]}
    part = await world.admit(build(ResourceSlice, "one", {"spec": spec}))
    assert part.spec.devices[0].taints[0].time_added == now


# NamespaceLifecycle


async def test_nothing_is_made_in_a_namespace_that_does_not_exist() -> None:
    lost = replace(pod(), metadata=ObjectMeta(name="web", namespace="lost"))
    with pytest.raises(NotFound, match=r'^namespaces "lost" not found$'):
        await World().admit(lost)


async def test_nothing_is_made_in_a_namespace_that_is_ending() -> None:
    world = World()
    world.objects.put(Namespace(metadata=ObjectMeta(name="x", deletion_timestamp="2026-01-01T00:00:00Z")))
    with pytest.raises(Forbidden) as refused:
        await world.admit(pod())
    assert refused.value.message == (
        'pods "web" is forbidden: unable to create new content in namespace x because it is being terminated'
    )
    cause = refused.value.causes[0]
    assert (cause.reason, cause.message) == ("NamespaceTerminating", "namespace x is being terminated")
    await world.admit(None, pod())


async def test_the_system_s_namespaces_are_never_deleted() -> None:
    message = await World().refused(None, Namespace(metadata=ObjectMeta(name="kube-system")))
    assert message == 'namespaces "kube-system" is forbidden: this namespace may not be deleted'


# ServiceAccount


async def test_a_pod_gets_a_token_its_ca_and_its_namespace_mounted() -> None:
    world = World(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="x")))
    admitted = await world.admit(pod(serviceAccountName="robot"))
    volume = admitted.spec.volumes[0]
    assert volume.name.startswith("kube-api-access-") and len(volume.name) == len("kube-api-access-") + 5
    sources = volume.projected.sources
    assert (sources[0].service_account_token.expiration_seconds, sources[0].service_account_token.path) == (
        3607,
        "token",
    )
    assert sources[1].config_map.name == "kube-root-ca.crt"
    assert sources[2].downward_api.items[0].field_ref.field_path == "metadata.namespace"
    mount = admitted.spec.containers[0].volume_mounts[0]
    assert (mount.name, mount.read_only) == (volume.name, True)
    assert mount.mount_path == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert admitted.spec.service_account == "robot"


async def test_the_pod_decides_about_its_token_before_its_account() -> None:
    world = World()
    assert (await world.admit(pod())).spec.volumes is None
    assert len((await world.admit(pod(automountServiceAccountToken=True))).spec.volumes) == 1


async def test_a_container_that_mounts_something_there_keeps_it() -> None:
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    containers = [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": path}]}]
    given = pod(automountServiceAccountToken=True, containers=containers, volumes=[{"name": "v", "emptyDir": {}}])
    assert len((await World().admit(given)).spec.volumes) == 1


async def test_a_missing_account_is_named() -> None:
    message = await World().refused(pod(serviceAccountName="robot"))
    assert message == (
        'pods "web" is forbidden: error looking up service account x/robot: serviceaccount "robot" not found'
    )


async def test_a_pod_takes_its_account_s_pull_secrets() -> None:
    world = World(build(ServiceAccount, "robot", {"imagePullSecrets": [{"name": "reg"}]}, "x"))
    assert (await world.admit(pod(serviceAccountName="robot"))).spec.image_pull_secrets[0].name == "reg"


async def test_an_account_may_limit_the_secrets_of_its_pods() -> None:
    account = build(ServiceAccount, "robot", {"secrets": [{"name": "good"}]}, "x")
    metadata = replace(account.metadata, annotations={"kubernetes.io/enforce-mountable-secrets": "true"})
    world = World(replace(account, metadata=metadata))
    for name, how in (("good", None), ("bad", "not allowed")):
        containers = [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": name}}]}]
        given = pod(serviceAccountName="robot", containers=containers)
        if how is None:
            await world.admit(given)
        else:
            assert how in await world.refused(given)


async def test_ephemeral_containers_are_held_to_the_same_secrets() -> None:
    account = build(ServiceAccount, "robot", {"secrets": [{"name": "good"}]}, "x")
    metadata = replace(account.metadata, annotations={"kubernetes.io/enforce-mountable-secrets": "true"})
    world = World(replace(account, metadata=metadata))
    for name in ("good", "bad"):
        ephemeral = [{"name": "e", "image": "i", "envFrom": [{"secretRef": {"name": name}}]}]
        new, old = (pod(serviceAccountName="robot", ephemeralContainers=more) for more in (ephemeral, []))
        if name == "good":
            await world.admit(new, old, sub="ephemeralcontainers")
        else:
            assert "not allowed" in await world.refused(new, old, sub="ephemeralcontainers")


# LimitRanger


LIMITS = build(
    LimitRange, "l",
    {"spec": {"limits": [{
        "type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
        "min": {"cpu": "50m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "5"},
    }]}},
    "x",
)  # fmt: skip


def with_resources(**resources: Any) -> Pod:
    return pod(containers=[{"name": "c", "image": "i", "resources": resources}])


async def test_containers_get_the_namespace_s_defaults() -> None:
    admitted = await World(LIMITS).admit(pod())
    resources = admitted.spec.containers[0].resources
    assert dict(resources.limits) == {"cpu": "500m"}
    assert dict(resources.requests) == {"cpu": "100m", "memory": "64Mi"}
    assert admitted.metadata.annotations["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    )


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"requests": {"cpu": "10m"}, "limits": {"cpu": "50m"}}, "minimum cpu usage per Container is 50m, but request is 10m"),
        ({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        (
            {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}},
            "cpu max limit to request ratio per Container is 5, but provided ratio is 10.000000",
        ),
    ],
)  # fmt: skip
async def test_a_container_outside_the_limits_is_refused(resources: dict[str, Any], text: str) -> None:
    assert await World(LIMITS).refused(with_resources(**resources)) == f'pods "web" is forbidden: {text}'


# Priority, tolerations, classes


async def test_priority_comes_from_the_class() -> None:
    world = World(build(PriorityClass, "high", {"value": 7, "preemptionPolicy": "Never"}))
    admitted = await world.admit(pod(priorityClassName="high"))
    assert (admitted.spec.priority, admitted.spec.preemption_policy) == (7, "Never")
    assert (await world.admit(pod())).spec.priority == 0
    assert await world.refused(pod(priorityClassName="none")) == (
        'pods "web" is forbidden: no PriorityClass with name none was found'
    )
    assert await world.refused(pod(priority=9)) == (
        'pods "web" is forbidden: the integer value of priority (9) must not be provided in pod spec; '
        "priority admission controller computed 0 from the given PriorityClass name"
    )


async def test_a_default_class_is_everybody_s_and_there_is_only_one() -> None:
    world = World(build(PriorityClass, "usual", {"value": 3, "globalDefault": True}))
    admitted = await world.admit(pod())
    assert (admitted.spec.priority, admitted.spec.priority_class_name) == (3, "usual")
    message = await world.refused(build(PriorityClass, "other", {"value": 1, "globalDefault": True}))
    assert message.endswith("PriorityClass usual is already marked as default. Only one default can exist")


async def test_a_pod_tolerates_a_lost_node_for_five_minutes() -> None:
    admitted = await World().admit(pod())
    assert [(t.key, t.effect, t.toleration_seconds) for t in admitted.spec.tolerations] == [
        ("node.kubernetes.io/not-ready", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "NoExecute", 300),
    ]
    everything = await World().admit(pod(tolerations=[{"operator": "Exists"}]))
    assert len(everything.spec.tolerations) == 1


async def test_a_runtime_class_brings_its_overhead_and_its_nodes() -> None:
    world = World(
        build(
            RuntimeClass, "vm",
            {"handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {"nodeSelector": {"vm": "yes"}}},
        )
    )  # fmt: skip
    admitted = await world.admit(pod(runtimeClassName="vm"))
    assert (dict(admitted.spec.overhead), dict(admitted.spec.node_selector)) == ({"cpu": "250m"}, {"vm": "yes"})
    assert await world.refused(pod(runtimeClassName="none")) == (
        'pods "web" is forbidden: pod rejected: RuntimeClass "none" not found'
    )
    assert "without corresponding RuntimeClass" in await world.refused(pod(overhead={"cpu": "1"}))
    assert "conflict: runtimeClass" in await world.refused(pod(runtimeClassName="vm", nodeSelector={"vm": "no"}))


async def test_a_claim_without_a_class_gets_the_newest_default() -> None:
    def marked(name: str, made: str) -> StorageClass:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        return StorageClass(metadata=ObjectMeta(name=name, annotations=annotations, creation_timestamp=made))

    world = World(marked("a", "2026-01-01T00:00:00Z"), marked("b", "2026-01-02T00:00:00Z"))
    claim = build(PersistentVolumeClaim, "c", {"spec": {}}, "x")
    assert (await world.admit(claim)).spec.storage_class_name == "b"
    named = build(PersistentVolumeClaim, "c", {"spec": {"storageClassName": ""}}, "x")
    assert (await world.admit(named)).spec.storage_class_name == ""


async def test_a_new_node_is_tainted_until_it_is_ready() -> None:
    admitted = await World().admit(build(Node, "n9"))
    assert [(taint.key, taint.effect) for taint in admitted.spec.taints] == [
        ("node.kubernetes.io/not-ready", "NoSchedule")
    ]


# ResourceQuota


QUOTA = build(ResourceQuota, "q", {"spec": {"hard": {"pods": "2", "requests.cpu": "1"}}}, "x")


def asking(name: str, cpu: str) -> Pod:
    return pod(name, containers=[{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}])


async def test_devices_cost_the_same_whether_a_pod_or_a_claim_asks_for_them() -> None:
    gpu = build(DeviceClass, "gpu", {"spec": {"extendedResourceName": "example.com/gpu"}})
    world = World(gpu, build(ResourceQuota, "q", {"spec": {"hard": {"requests.example.com/gpu": "1"}}}, "x"))
    resources = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
    world.objects.put(await world.admit(pod("p", containers=[{"name": "c", "image": "i", "resources": resources}])))
    request = {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
    claim = build(ResourceClaim, "c", {"spec": {"devices": {"requests": [request]}}}, "x")
    assert await world.refused(claim) == (
        'resourceclaims.resource.k8s.io "c" is forbidden: exceeded quota: q, requested: requests.example.com/gpu=1, '
        "used: requests.example.com/gpu=1, limited: requests.example.com/gpu=1"
    )


async def test_a_quota_is_counted_exactly_also_among_writes_under_way() -> None:
    world = World(QUOTA)
    world.objects.put(await world.admit(asking("stored", "500m")))
    world.plugins[-1].set_aside.clear()
    under_way = await world.run(world.admission(asking("under-way", "500m")))
    message = await world.refused(asking("web", "1m"))
    assert message == (
        'pods "web" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=1, '
        "limited: pods=2,requests.cpu=1"
    )
    world.plugins[-1].abandoned(under_way)
    await world.admit(asking("web", "500m"))


async def test_a_pod_states_what_the_quota_counts() -> None:
    assert await World(QUOTA).refused(pod()) == (
        'pods "web" is forbidden: failed quota: q: must specify requests.cpu for: c'
    )


async def test_a_finished_pod_costs_nothing() -> None:
    world = World(QUOTA)
    finished = asking("done", "1")
    world.objects.put(replace(finished, status=replace(finished.status, phase="Succeeded")))
    await world.admit(asking("web", "1"))


async def test_any_kind_can_be_counted() -> None:
    world = World(build(ResourceQuota, "q", {"spec": {"hard": {"count/leases.coordination.k8s.io": "1"}}}, "x"))
    world.objects.put(build(Lease, "one", namespace="x"))
    message = await world.refused(build(Lease, "two", namespace="x"))
    assert "exceeded quota: q, requested: count/leases.coordination.k8s.io=1" in message


# PodSecurity


def secured(level: str, **more: str) -> World:
    labels = {"pod-security.kubernetes.io/enforce": level, **more}
    world = World()
    world.objects.put(Namespace(metadata=ObjectMeta(name="x", labels=labels)))
    return world


async def test_baseline_refuses_known_ways_out() -> None:
    for spec, text in (
        ({"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]},
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
        (
            {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]},
            'hostPort (container "c" uses hostPort 80)',
        ),
        (
            {"containers": [{"name": "c", "image": "i", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]},
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
        ),
    ):
        message = await secured("baseline").refused(pod(**spec))
        assert message == f'pods "web" is forbidden: violates PodSecurity "baseline:latest": {text}'
    await secured("baseline").admit(pod())


async def test_restricted_asks_for_four_statements() -> None:
    message = await secured("restricted").refused(pod())
    assert message == (
        'pods "web" is forbidden: violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    )
    hardened = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    await secured("restricted").admit(
        pod(securityContext=context, containers=[{"name": "c", "image": "i", "securityContext": hardened}])
    )


async def test_probes_and_hooks_stay_within_the_pod() -> None:
    probe = {"httpGet": {"port": 80, "host": "169.254.169.254"}}
    message = await secured("baseline").refused(pod(containers=[{"name": "c", "image": "i", "livenessProbe": probe}]))
    assert message.endswith('(container "c" uses probe or lifecycle host "169.254.169.254")')


async def test_a_user_namespace_makes_root_harmless_and_unmasked_proc_baseline() -> None:
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 0}
    profile = {"seccompProfile": {"type": "RuntimeDefault"}}
    rooted = pod(
        hostUsers=False, securityContext=profile, containers=[{"name": "c", "image": "i", "securityContext": context}]
    )
    await secured("restricted").admit(rooted)
    unmasked = pod(
        hostUsers=False, containers=[{"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}]
    )
    await secured("baseline").admit(unmasked)
    assert "procMount" in await secured("restricted").refused(unmasked)


async def test_a_level_to_warn_of_only_warns() -> None:
    world = secured("privileged", **{"pod-security.kubernetes.io/warn": "baseline"})
    asked = await world.run(world.admission(pod(hostNetwork=True)))
    assert asked.warnings == ['would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)']


# RBAC escalation


def role(name: str, *rules: dict[str, Any]) -> Any:
    return build(ClusterRole, name, {"rules": list(rules)})


READER = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
BOUND = build(
    ClusterRoleBinding, "b",
    {"roleRef": {"kind": "ClusterRole", "name": "reader"}, "subjects": [{"kind": "User", "name": "jane"}]},
)  # fmt: skip


async def test_nobody_writes_a_role_with_more_than_they_hold() -> None:
    world = World(role("reader", READER), BOUND)
    await world.admit(role("less", {**READER, "verbs": ["get"]}))
    message = await world.refused(role("more", {**READER, "verbs": ["get", "delete", "create"]}))
    assert message == (
        'clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}'
    )
    await world.admit(role("more", {**READER, "verbs": ["*"]}), user=User("root", ("system:masters",)))


async def test_escalate_and_bind_are_rights_of_their_own() -> None:
    rules = [
        READER,
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["escalate", "bind"]},
    ]
    world = World(
        role("reader", *rules), BOUND, role("admin", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    )
    await world.admit(role("more", {**READER, "verbs": ["*"]}))
    binding = build(ClusterRoleBinding, "new", {"roleRef": {"kind": "ClusterRole", "name": "admin"}})
    await world.admit(binding)


async def test_nobody_binds_to_a_stronger_role_nor_adds_subjects_to_its_binding() -> None:
    world = World(
        role("reader", READER), BOUND, role("admin", {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    )
    binding = build(
        ClusterRoleBinding, "new",
        {"roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [{"kind": "User", "name": "jane"}]},
    )  # fmt: skip
    assert 'Resources:["*"], Verbs:["*"]' in await world.refused(binding)
    assert "not currently held" in await world.refused(binding, replace(binding, subjects=None))
    labelled = replace(binding, metadata=replace(binding.metadata, labels={"a": "b"}))
    await world.admit(labelled, binding)


# NodeRestriction


def on_node(name: str, node: str, **more: Any) -> Pod:
    return replace(pod(name), spec=replace(pod(name).spec, node_name=node), **more)


def mirror(name: str = "web", node: str = "n1", uid: str = "uid-n1", **spec: Any) -> Pod:
    made = pod(name, annotations={"kubernetes.io/config.mirror": "hash"}, nodeName=node, **spec)
    owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": True}
    owners = from_builtins(Pod, {"metadata": {"ownerReferences": [owner]}}).metadata.owner_references
    return replace(made, metadata=replace(made.metadata, owner_references=owners))


def node_world(*objects: Any) -> World:
    return World(Node(metadata=ObjectMeta(name="n1", uid="uid-n1")), *objects)


async def test_a_node_makes_mirror_pods_of_its_own_only() -> None:
    world = node_world()
    await world.admit(mirror(), user=NODE_ONE)
    for wrong in (
        pod(), mirror(node="n2"), mirror(uid="other"), mirror(serviceAccountName="default"),
        mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
        mirror(volumes=[{"name": "v", "configMap": {"name": "s"}}]),
        mirror(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]),
        mirror(resourceClaims=[{"name": "r"}]),
        replace(mirror(), metadata=replace(mirror().metadata, owner_references=None)),
    ):  # fmt: skip
        assert "is forbidden" in await world.refused(wrong, user=NODE_ONE)


async def test_a_node_changes_only_its_own_pods_status() -> None:
    world = node_world()
    own, other = on_node("a", "n1"), on_node("b", "n2")
    await world.admit(own, own, user=NODE_ONE, sub="status")
    assert "can only update pod status for pods with spec.nodeName set to itself" in await world.refused(
        other, other, user=NODE_ONE, sub="status"
    )
    labelled = replace(own, metadata=replace(own.metadata, labels={"a": "b"}))
    assert "cannot update labels" in await world.refused(labelled, own, user=NODE_ONE, sub="status")
    await world.admit(None, own, user=NODE_ONE)
    assert "can only delete pods" in await world.refused(None, other, user=NODE_ONE)
    assert "can only create and delete mirror pods" in await world.refused(own, own, user=NODE_ONE)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1", "mine": "x"}}}, None),
        ({"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/a": "b"}}}, "modify labels"),
        ({"metadata": {"name": "n1", "labels": {"foo.kubernetes.io/a": "b"}}}, "modify labels: foo.kubernetes.io/a"),
        ({"metadata": {"name": "n1", "labels": {"x.k8s.io/a": "b"}}}, "modify labels"),
        ({"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, "modify taints"),
        (
            {"metadata": {"name": "n1", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]}},
            "ownerReferences",
        ),
        ({"metadata": {"name": "n2"}}, 'not allowed to modify node "n2"'),
    ],
)  # fmt: skip
async def test_a_node_describes_itself_and_no_more(change: dict[str, Any], text: str | None) -> None:
    world = node_world()
    new = from_builtins(Node, change)
    old = Node(metadata=ObjectMeta(name=new.metadata.name))
    if text is None:
        await world.admit(new, old, user=NODE_ONE)
    else:
        assert text in await world.refused(new, old, user=NODE_ONE)


async def test_a_node_never_deletes_itself() -> None:
    own = Node(metadata=ObjectMeta(name="n1"))
    assert "not allowed" in await node_world().refused(None, own, user=NODE_ONE)


async def test_a_node_s_lease_is_its_own() -> None:
    world = node_world()
    await world.admit(build(Lease, "n1", namespace="kube-node-lease"), user=NODE_ONE)
    for name, namespace in (("n2", "kube-node-lease"), ("n1", "x")):
        assert "is forbidden" in await world.refused(build(Lease, name, namespace=namespace), user=NODE_ONE)


def projecting(name: str, node: str, **source: Any) -> Pod:
    volumes = {"spec": {"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": source}]}}]}}
    made = on_node(name, node)
    return replace(made, spec=replace(made.spec, volumes=from_builtins(Pod, volumes).spec.volumes))


def asking_for(name: str, uid: str, *audiences: str) -> TokenRequest:
    bound = BoundObjectReference(api_version="v1", kind="Pod", name=name, uid=uid)
    spec = TokenRequestSpec(bound_object_ref=bound, audiences=audiences or None)
    return TokenRequest(metadata=ObjectMeta(name="default"), spec=spec)


TOKEN_ASKED: dict[str, Any] = {
    "user": NODE_ONE, "sub": "token", "resource": RESOURCES[ServiceAccount], "namespace": "x", "name": "default",
}  # fmt: skip


async def test_a_node_asks_for_tokens_of_its_pods_only() -> None:
    world = node_world(projecting("mine", "n1", path="t"), projecting("theirs", "n2", path="t"))
    mine = world.objects.get(Pod, "mine", "x").metadata.uid
    theirs = world.objects.get(Pod, "theirs", "x").metadata.uid
    await world.admit(asking_for("mine", mine), **TOKEN_ASKED)
    for name, uid in (("theirs", theirs), ("mine", ""), ("mine", "other"), ("none", "u"), ("", "")):
        assert "is forbidden" in await world.refused(asking_for(name, uid), **TOKEN_ASKED)


async def test_a_node_asks_for_tokens_for_the_audiences_that_the_pod_names() -> None:
    driver = build(CSIDriver, "d", {"spec": {"tokenRequests": [{"audience": "storage"}]}})
    inline = {"spec": {"volumes": [{"name": "v", "csi": {"driver": "d"}}]}}
    pod_with = projecting("mine", "n1", path="t", audience="vault")
    volumes = (*pod_with.spec.volumes, *from_builtins(Pod, inline).spec.volumes)
    world = node_world(replace(pod_with, spec=replace(pod_with.spec, volumes=volumes)), driver)
    uid = world.objects.get(Pod, "mine", "x").metadata.uid
    for audience in ("vault", "storage"):
        await world.admit(asking_for("mine", uid, audience), **TOKEN_ASKED)
    for audiences in ((), ("registry",), ("vault", "storage")):
        assert "audience" in await world.refused(asking_for("mine", uid, *audiences), **TOKEN_ASKED)
    right = PolicyRule(verbs=("request-serviceaccounts-token-audience",), api_groups=("",), resources=("registry",))
    world.objects.put(ClusterRole(metadata=ObjectMeta(name="pulling"), rules=(right,)))
    nodes = Subject(kind="Group", name="system:nodes")
    role = RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="pulling")
    world.objects.put(ClusterRoleBinding(metadata=ObjectMeta(name="pulling"), role_ref=role, subjects=(nodes,)))
    await world.admit(asking_for("mine", uid, "registry"), **TOKEN_ASKED)


async def test_a_node_without_a_name_gets_nothing() -> None:
    nameless = User("system:serviceaccount:x:y", ("system:nodes",))
    assert "could not determine node" in await node_world().refused(pod(), user=nameless)


# Certificates


def signing_request(name: str, *organizations: str, signer: str = "kubernetes.io/kube-apiserver-client") -> Any:
    names = [(NameOID.COMMON_NAME, "eve"), *((NameOID.ORGANIZATION_NAME, text) for text in organizations)]
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names])
    made = x509.CertificateSigningRequestBuilder(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    request = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    return build(CertificateSigningRequest, name, {"spec": {"request": request, "signerName": signer}})


async def test_a_certificate_request_says_who_really_makes_it() -> None:
    forged = signing_request("n1")
    forged = replace(forged, spec=replace(forged.spec, username="system:node:n1", groups=("system:nodes",)))
    spec = (await World().admit(forged)).spec
    assert (spec.username, spec.groups) == ("jane", ("system:authenticated",))


async def test_no_certificate_makes_its_holder_a_master() -> None:
    await World().admit(signing_request("eve", "dev"))
    assert await World().refused(signing_request("eve", "dev", "system:masters")) == (
        'certificatesigningrequests.certificates.k8s.io "eve" is forbidden: use of '
        "kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )


async def test_approving_and_signing_are_rights_by_signer() -> None:
    signers = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"]}
    rules = [{**signers, "verbs": ["approve"], "resourceNames": ["example.com/*"]},
             {**signers, "verbs": ["sign"], "resourceNames": ["example.com/a"]}]  # fmt: skip
    world = World(role("reader", *rules), BOUND)
    for signer, approves, signs in (
        ("example.com/a", True, True), ("example.com/b", True, False), ("kubernetes.io/kubelet-serving", False, False),
    ):  # fmt: skip
        old = signing_request("r", signer=signer)
        signed = replace(old, status=replace(old.status, certificate="Y2VydA=="))
        for part, allowed in (("approval", approves), ("status", signs)):
            if allowed:
                await world.admit(signed, old, sub=part)
            else:
                assert f'with signerName "{signer}"' in await world.refused(signed, old, sub=part)
