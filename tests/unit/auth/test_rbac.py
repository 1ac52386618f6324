"""RBAC decides as upstream does, and follows every change."""

import random
from types import SimpleNamespace

from msgspec.structs import replace

from kybern.api.meta_v1 import ObjectMeta
from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
from kybern.apiserver.auth.denial import forbidden_request, refusal
from kybern.apiserver.auth.grants import broken_down, compile_rules
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.request import Attributes, User
from kybern.testing.memory_objects import MemoryObjects

JANE = User("jane", ("system:authenticated",))


def asks(user: User, verb: str, resource: str, **more: str) -> Attributes:
    resource, _, subresource = resource.partition("/")
    return Attributes(user=user, verb=verb, resource=resource, subresource=subresource, **more)


def rule(verbs: str, resources: str, groups: str = "", names: tuple[str, ...] | None = None) -> PolicyRule:
    return PolicyRule(
        verbs=tuple(verbs.split()), api_groups=(groups,), resources=tuple(resources.split()), resource_names=names
    )


def cluster_role(name: str, *rules: PolicyRule) -> ClusterRole:
    return ClusterRole(metadata=ObjectMeta(name=name), rules=rules)


def bind(name: str, role: str, *subjects: Subject, namespace: str = "", kind: str = "ClusterRole") -> object:
    ref = RoleRef(kind=kind, name=role, api_group="rbac.authorization.k8s.io")
    if namespace:
        return RoleBinding(metadata=ObjectMeta(name=name, namespace=namespace), role_ref=ref, subjects=subjects)
    return ClusterRoleBinding(metadata=ObjectMeta(name=name), role_ref=ref, subjects=subjects)


USER_JANE = Subject(kind="User", name="jane")


def allowed(objects: MemoryObjects, attributes: Attributes) -> bool:
    return following(objects).decide(attributes).allowed


def test_pods_do_not_give_their_subresources() -> None:
    objects = MemoryObjects(cluster_role("r", rule("*", "pods")), bind("b", "r", USER_JANE))
    assert allowed(objects, asks(JANE, "get", "pods", namespace="x"))
    for part in ("exec", "log", "ephemeralcontainers", "status"):
        assert not allowed(objects, asks(JANE, "get", f"pods/{part}", namespace="x"))


def test_a_star_resource_gives_subresources_and_a_star_slash_scale_gives_every_scale() -> None:
    objects = MemoryObjects(cluster_role("r", rule("get", "*/scale", "*")), bind("b", "r", USER_JANE))
    assert allowed(objects, asks(JANE, "get", "deployments/scale", group="apps"))
    assert not allowed(objects, asks(JANE, "get", "deployments", group="apps"))
    objects = MemoryObjects(cluster_role("r", rule("get", "*")), bind("b", "r", USER_JANE))
    assert allowed(objects, asks(JANE, "get", "pods/log"))
    assert not allowed(objects, asks(JANE, "get", "deployments", group="apps"))


def test_resource_names_never_allow_a_request_without_a_name() -> None:
    objects = MemoryObjects(
        cluster_role("r", rule("get list create", "secrets", names=("a",))), bind("b", "r", USER_JANE)
    )
    assert allowed(objects, asks(JANE, "get", "secrets", namespace="x", name="a"))
    assert not allowed(objects, asks(JANE, "get", "secrets", namespace="x", name="b"))
    assert not allowed(objects, asks(JANE, "list", "secrets", namespace="x"))
    assert not allowed(objects, asks(JANE, "create", "secrets", namespace="x"))


def test_non_resource_urls_match_whole_or_by_a_closing_star() -> None:
    urls = PolicyRule(verbs=("get",), non_resource_urls=("/healthz", "/apis/*"))
    objects = MemoryObjects(cluster_role("r", urls), bind("b", "r", USER_JANE))
    for path, expected in {"/healthz": True, "/healthz/x": False, "/apis/": True, "/apis": False, "/": False}.items():
        assert allowed(objects, Attributes(user=JANE, verb="get", path=path)) is expected
    assert not allowed(objects, Attributes(user=JANE, verb="post", path="/healthz"))


def test_a_role_binding_to_a_cluster_role_holds_in_its_namespace_only() -> None:
    urls = PolicyRule(verbs=("get",), non_resource_urls=("*",))
    objects = MemoryObjects(cluster_role("r", rule("*", "*", "*"), urls), bind("b", "r", USER_JANE, namespace="mine"))
    assert allowed(objects, asks(JANE, "delete", "pods", namespace="mine"))
    assert not allowed(objects, asks(JANE, "delete", "pods", namespace="yours"))
    assert not allowed(objects, asks(JANE, "list", "nodes"))
    assert not allowed(objects, Attributes(user=JANE, verb="get", path="/metrics"))


def test_a_cluster_role_binding_that_names_a_role_binds_nothing() -> None:
    objects = MemoryObjects(cluster_role("r", rule("*", "*", "*")), bind("b", "r", USER_JANE, kind="Role"))
    assert not allowed(objects, asks(JANE, "get", "pods"))


def test_a_service_account_subject_without_a_namespace_means_the_binding_s() -> None:
    subject = Subject(kind="ServiceAccount", name="robot")
    role = Role(metadata=ObjectMeta(name="r", namespace="mine"), rules=(rule("get", "pods"),))
    objects = MemoryObjects(role, bind("b", "r", subject, namespace="mine", kind="Role"))
    assert allowed(objects, asks(User("system:serviceaccount:mine:robot"), "get", "pods", namespace="mine"))
    assert not allowed(objects, asks(User("system:serviceaccount:yours:robot"), "get", "pods", namespace="mine"))


def test_masters_may_do_everything() -> None:
    assert allowed(MemoryObjects(), asks(User("root", ("system:masters",)), "delete", "nodes"))


def test_every_change_is_in_force_at_the_next_decision() -> None:
    objects = MemoryObjects()
    rbac = following(objects)
    question = asks(JANE, "get", "pods", namespace="x")
    binding = objects.put(bind("b", "r", USER_JANE))
    assert not rbac.decide(question).allowed
    role = objects.put(cluster_role("r", rule("get", "pods")))
    assert rbac.decide(question).allowed
    objects.put(replace(role, rules=(rule("list", "pods"),)))
    assert not rbac.decide(question).allowed
    objects.put(role)
    objects.put(replace(binding, subjects=(Subject(kind="Group", name="others"),)))
    assert not rbac.decide(question).allowed
    assert rbac.decide(asks(User("joe", ("others",)), "get", "pods")).allowed
    objects.remove(binding)
    assert not rbac.decide(asks(User("joe", ("others",)), "get", "pods")).allowed
    assert rbac.bindings == {}


def test_the_reason_names_binding_role_and_subject() -> None:
    objects = MemoryObjects(
        cluster_role("r", rule("get", "pods")),
        bind("b", "r", Subject(kind="ServiceAccount", name="robot", namespace="y"), namespace="x"),
    )
    decision = following(objects).decide(asks(User("system:serviceaccount:y:robot"), "get", "pods", namespace="x"))
    assert decision.reason == 'RBAC: allowed by RoleBinding "b/x" of ClusterRole "r" to ServiceAccount "robot/y"'


def test_a_refusal_says_who_may_not_do_what_where() -> None:
    question = asks(JANE, "get", "pods/log", namespace="x", name="web")
    assert refusal(question) == 'User "jane" cannot get resource "pods/log" in API group "" in the namespace "x"'
    assert str(forbidden_request(question)) == f'pods "web" is forbidden: {refusal(question)}'
    assert refusal(asks(JANE, "list", "nodes")).endswith('resource "nodes" in API group "" at the cluster scope')
    path = Attributes(user=JANE, verb="get", path="/metrics")
    assert str(forbidden_request(path)) == 'forbidden: User "jane" cannot get path "/metrics"'


def test_a_rule_is_covered_only_by_one_that_says_as_much() -> None:
    held = compile_rules([rule("get list", "pods pods/log"), rule("get", "secrets", names=("a", "b"))])

    def covered(wanted: PolicyRule) -> bool:
        return all(map(held.covers, broken_down([wanted])))

    assert covered(rule("get", "pods pods/log"))
    assert covered(rule("get", "secrets", names=("a",)))
    assert not covered(rule("get", "secrets"))
    assert not covered(rule("*", "pods"))
    assert not covered(rule("get", "*"))
    assert not covered(rule("get", "pods", "*"))


# An independent model: no index, every binding and rule looked at, straight from the documentation.

VERBS, GROUPS = ("get", "list", "create", "*"), ("", "apps", "*")
RESOURCES = ("pods", "pods/log", "secrets", "*", "*/log", "*/scale")
NAMES, NAMESPACES, USERS = ("a", "b"), ("x", "y"), ("jane", "joe", "system:serviceaccount:x:robot")
URLS = ("/api", "/api/*", "*", "/healthz", "/api/v1")


def model_rule_allows(rule: PolicyRule, a: Attributes) -> bool:
    if "*" not in rule.verbs and a.verb not in rule.verbs:
        return False
    if not a.is_resource:
        return any(
            url == "*" or url == a.path or (url.endswith("*") and a.path.startswith(url[:-1]))
            for url in rule.non_resource_urls or ()
        )
    if not rule.resources or ("*" not in rule.api_groups and a.group not in rule.api_groups):
        return False
    whole = a.resource + ("/" + a.subresource if a.subresource else "")
    matching = {"*", whole} | ({"*/" + a.subresource} if a.subresource else set())
    if not matching & set(rule.resources):
        return False
    return not rule.resource_names or a.name in rule.resource_names


def model_is_meant(subject: Subject, user: User, namespace: str) -> bool:
    if subject.kind == "User":
        return subject.name == user.name
    if subject.kind == "Group":
        return subject.name in user.groups
    at = subject.namespace or namespace
    return bool(at) and user.name == f"system:serviceaccount:{at}:{subject.name}"


def model_allows(objects: MemoryObjects, a: Attributes) -> bool:
    for binding in objects.list(ClusterRoleBinding):
        role = objects.get(ClusterRole, binding.role_ref.name)
        meant = any(model_is_meant(s, a.user, "") for s in binding.subjects)
        if role and meant and any(model_rule_allows(r, a) for r in role.rules):
            return True
    if not a.is_resource or not a.namespace:
        return False
    for binding in objects.list(RoleBinding, a.namespace):
        at = a.namespace if binding.role_ref.kind == "Role" else ""
        role = objects.get(Role if at else ClusterRole, binding.role_ref.name, at)
        meant = any(model_is_meant(s, a.user, a.namespace) for s in binding.subjects)
        if role and meant and any(model_rule_allows(r, a) for r in role.rules):
            return True
    return False


def random_rule(rng: random.Random) -> PolicyRule:
    def some(choices: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(rng.sample(choices, rng.randint(1, 2)))

    if rng.random() < 0.2:
        return PolicyRule(verbs=some(VERBS), non_resource_urls=some(URLS))
    names = some(NAMES) if rng.random() < 0.3 else None
    return PolicyRule(verbs=some(VERBS), api_groups=some(GROUPS), resources=some(RESOURCES), resource_names=names)


def random_subject(rng: random.Random) -> Subject:
    kind = rng.choice(("User", "Group", "ServiceAccount"))
    if kind == "ServiceAccount":
        return Subject(kind=kind, name="robot", namespace=rng.choice((None, "x", "y")))
    return Subject(kind=kind, name=rng.choice(USERS if kind == "User" else ("team", "ops")))


def random_world(rng: random.Random) -> SimpleNamespace:
    objects = MemoryObjects()
    rbac = following(objects)
    for _ in range(rng.randint(3, 12)):
        name, namespace = rng.choice("pqr"), rng.choice(NAMESPACES)
        rules = tuple(random_rule(rng) for _ in range(rng.randint(1, 3)))
        subjects = tuple(random_subject(rng) for _ in range(rng.randint(1, 2)))
        objects.put(rng.choice((
            ClusterRole(metadata=ObjectMeta(name=name), rules=rules),
            Role(metadata=ObjectMeta(name=name, namespace=namespace), rules=rules),
            bind(name, rng.choice("pqr"), *subjects),
            bind(name, rng.choice("pqr"), *subjects, namespace=namespace, kind=rng.choice(("Role", "ClusterRole"))),
        )))  # fmt: skip
        if rng.random() < 0.1 and (roles := objects.list(ClusterRole)):
            objects.remove(rng.choice(roles))
    return SimpleNamespace(objects=objects, rbac=rbac)


def random_question(rng: random.Random) -> Attributes:
    user = User(rng.choice(USERS), tuple(rng.sample(("team", "ops"), rng.randint(0, 1))))
    if rng.random() < 0.2:
        return Attributes(user=user, verb="get", path=rng.choice(("/api", "/api/v1", "/healthz", "/x")))
    return asks(
        user,
        rng.choice(("get", "list", "create")),
        rng.choice(("pods", "pods/log", "secrets", "pods/scale")),
        group=rng.choice(("", "apps")),
        namespace=rng.choice(("", "x", "y")),
        name=rng.choice(("", "a", "b")),
    )


def test_10000_random_questions_are_answered_as_an_independent_model_answers_them() -> None:
    rng = random.Random(1)
    answers = [0, 0]
    for _ in range(1000):
        world = random_world(rng)
        for _ in range(10):
            question = random_question(rng)
            expected = model_allows(world.objects, question)
            assert world.rbac.decide(question).allowed is expected, question
            answers[expected] += 1
    assert min(answers) > 400, "both answers are common"
