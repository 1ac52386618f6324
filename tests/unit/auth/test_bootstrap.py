"""What every cluster has from the start, and how a later start repairs it."""

from msgspec.structs import replace

from kybern.api.core_v1 import Endpoints, Namespace, Service
from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject
from kybern.api.scheduling_v1 import PriorityClass
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.bootstrap.fixed_services import kubernetes_service
from kybern.apiserver.request import ANONYMOUS, Attributes, User
from kybern.testing.memory_objects import MemoryObjects

SERVICE = kubernetes_service("10.96.0.1", ("10.244.0.1",), 6443)


async def started() -> MemoryObjects:
    objects = MemoryObjects()
    await bootstrap(objects, [SERVICE])
    return objects


async def test_namespaces_priorities_and_the_kubernetes_service_are_there() -> None:
    objects = await started()
    names = {namespace.metadata.name for namespace in objects.list(Namespace)}
    assert names == {"default", "kube-system", "kube-public", "kube-node-lease"}
    critical = objects.get(PriorityClass, "system-node-critical")
    assert critical is not None and critical.value == 2000001000
    service = objects.get(Service, "kubernetes", "default")
    assert service is not None and service.spec.cluster_ip == "10.96.0.1"
    endpoints = objects.get(Endpoints, "kubernetes", "default")
    assert endpoints is not None and endpoints.subsets[0].addresses[0].ip == "10.244.0.1"


async def test_a_second_start_writes_nothing() -> None:
    objects = await started()
    count = objects.count
    await bootstrap(objects, [SERVICE])
    assert objects.count == count


async def test_the_service_follows_the_server_s_address() -> None:
    objects = await started()
    await bootstrap(objects, [kubernetes_service("10.96.0.1", ("10.244.0.9",), 7443)])
    endpoints = objects.get(Endpoints, "kubernetes", "default")
    assert endpoints is not None and endpoints.subsets[0].ports[0].port == 7443


async def test_what_is_missing_is_repaired_and_what_is_added_stays() -> None:
    objects = await started()
    role = objects.get(ClusterRole, "system:kube-dns")
    added = PolicyRule(verbs=("get",), api_groups=("",), resources=("pods",))
    objects.put(replace(role, rules=(added,)))
    binding = objects.get(ClusterRoleBinding, "system:kube-dns")
    objects.put(replace(binding, subjects=None))
    objects.remove(objects.get(Role, "extension-apiserver-authentication-reader", "kube-system"))
    await bootstrap(objects)
    assert objects.get(ClusterRole, "system:kube-dns").rules == (added, *role.rules)
    assert objects.get(ClusterRoleBinding, "system:kube-dns").subjects == binding.subjects
    assert objects.get(Role, "extension-apiserver-authentication-reader", "kube-system")


async def test_what_a_former_version_gave_our_own_roles_is_taken_back() -> None:
    objects = await started()
    role, binding = (objects.get(kind, "kybern:node-network") for kind in (ClusterRole, ClusterRoleBinding))
    rule = PolicyRule(verbs=("get",), api_groups=("",), resources=("endpoints",))
    objects.put(replace(role, rules=(rule, *role.rules)))
    nodes = Subject(kind="Group", name="system:nodes", api_group="rbac.authorization.k8s.io")
    objects.put(replace(binding, subjects=(nodes,)))
    await bootstrap(objects)
    assert objects.get(ClusterRole, "kybern:node-network").rules == role.rules
    assert objects.get(ClusterRoleBinding, "kybern:node-network").subjects == binding.subjects
    kubelet = User("system:node:n1", ("system:nodes", "system:authenticated"))
    asked = Attributes(user=kubelet, verb="list", resource="pods")
    assert not following(objects).decide(asked).allowed


async def test_an_object_told_not_to_be_updated_is_left_alone() -> None:
    objects = await started()
    role = objects.get(ClusterRole, "system:kube-dns")
    annotations = {"rbac.authorization.kubernetes.io/autoupdate": "false"}
    objects.put(replace(role, rules=None, metadata=replace(role.metadata, annotations=annotations)))
    await bootstrap(objects)
    assert objects.get(ClusterRole, "system:kube-dns").rules is None


async def test_every_binding_names_a_role_that_is_there() -> None:
    objects = await started()
    for binding in objects.list(ClusterRoleBinding):
        assert objects.get(ClusterRole, binding.role_ref.name), binding.metadata.name
    for binding in objects.list(RoleBinding):
        assert objects.get(Role, binding.role_ref.name, binding.metadata.namespace), binding.metadata.name
    assert len(objects.list(ClusterRole)) > 60


async def test_edit_holds_what_view_holds_and_admin_what_edit_holds() -> None:
    objects = await started()
    rules = {name: set(objects.get(ClusterRole, name).rules) for name in ("view", "edit", "admin")}
    assert rules["view"] < rules["edit"] < rules["admin"]
    assert not any("secrets" in rule.resources for rule in rules["view"])


async def test_the_anonymous_see_health_and_version_and_nothing_else() -> None:
    rbac = following(await started())
    for path, expected in {"/healthz": True, "/livez": True, "/readyz": True, "/version": True, "/api": False,
                           "/metrics": False, "/openapi/v2": False, "/": False}.items():  # fmt: skip
        assert rbac.decide(Attributes(user=ANONYMOUS, verb="get", path=path)).allowed is expected
    for resource in ("pods", "namespaces", "selfsubjectaccessreviews"):
        assert not rbac.decide(Attributes(user=ANONYMOUS, verb="list", resource=resource)).allowed


async def test_a_user_without_rights_may_only_look_around() -> None:
    rbac = following(await started())
    user = User("jane", ("system:authenticated",))
    assert rbac.decide(Attributes(user=user, verb="get", path="/apis/apps/v1")).allowed
    own = Attributes(user=user, verb="create", group="authorization.k8s.io", resource="selfsubjectaccessreviews")
    assert rbac.decide(own).allowed
    assert not rbac.decide(Attributes(user=user, verb="list", resource="pods", namespace="default")).allowed


async def test_kubelets_that_ask_are_told_that_the_api_server_may() -> None:
    attributes = Attributes(
        user=User("kube-apiserver-kubelet-client"), verb="create", resource="nodes", subresource="proxy"
    )
    assert following(await started()).decide(attributes).allowed
