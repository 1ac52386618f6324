"""What a container is started with, by value."""

from base64 import b64encode
from dataclasses import replace as changed
from typing import Any

import pytest

from kybern.api.core_v1 import (
    Capabilities,
    ConfigMap,
    ConfigMapEnvSource,
    ConfigMapKeySelector,
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    HostAlias,
    ObjectFieldSelector,
    Pod,
    PodDNSConfig,
    PodDNSConfigOption,
    PodSecurityContext,
    PodSpec,
    ResourceFieldSelector,
    ResourceRequirements,
    Secret,
    SecretEnvSource,
    SecretKeySelector,
    SecurityContext,
    Service,
    ServicePort,
    ServiceSpec,
    VolumeMount,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.kubelet.containers import Prepared, container_config, sub_path_of
from kybern.kubelet.credentials import credentials_for, repository_of
from kybern.kubelet.env import ConfigFault, References, environment
from kybern.kubelet.expansion import expand, expand_strictly
from kybern.kubelet.names import (
    dns_config,
    hostname,
    hosts_file,
    omitted,
    parse_resolv_conf,
    wanted_dns,
    within_limits,
)
from kybern.kubelet.qos import oom_score_adjust, qos_class
from kybern.kubelet.qos_cgroups import qos_limits
from kybern.kubelet.resources import linux_resources, pod_cgroup, pod_requests, pod_resources, quota, shares
from kybern.kubelet.security import security_context
from kybern.kubelet.service_env import service_variables
from kybern.runtime.cri import DNSConfig, Image, NamespaceMode
from kybern.volumes.downward import Facts

FACTS = Facts(pod_ips=("10.0.0.2",), host_ips=("10.0.0.1",), node_name="n1", allocatable={"cpu": "4", "memory": "8Gi"})
IMAGE = Image(id="sha256:1")


def pod(*containers: Container, **spec: Any) -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name="web-1", namespace="default", uid="u", labels={"app": "web"}, annotations={"a": 'say "hi"'}
        ),
        spec=PodSpec(containers=containers or (Container(name="web", image="i:1"),), **spec),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$()", "$()"),
        ("100%$", "100%$"),
    ],
)
def test_references_are_expanded_as_upstream_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_a_strict_expansion_names_what_is_missing() -> None:
    with pytest.raises(LookupError, match="missing value for X"):
        expand_strictly("$(A)/$(X)", {"A": "1"})


def env(container: Container, services: dict[str, str] | None = None, **objects: Any) -> dict[str, str]:
    references = References(objects.get("config_maps", {}), objects.get("secrets", {}))
    return environment(pod(container), container, references, FACTS, services or {})


def field(path: str) -> EnvVarSource:
    return EnvVarSource(field_ref=ObjectFieldSelector(field_path=path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['a']", 'say "hi"'),
        ("metadata.annotations", 'a="say \\"hi\\""'),
        ("spec.nodeName", "n1"),
        ("status.podIP", "10.0.0.2"),
        ("status.hostIP", "10.0.0.1"),
        ("status.hostIPs", "10.0.0.1"),
    ],
)
def test_a_pod_is_told_about_itself(path: str, expected: str) -> None:
    assert env(Container(name="web", env=(EnvVar(name="X", value_from=field(path)),)))["X"] == expected


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", None, "67108864"),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", None, "67108864"),
        ("limits.ephemeral-storage", None, "0"),
    ],
)
def test_a_container_is_told_its_resources(resource: str, divisor: str | None, expected: str) -> None:
    source = ResourceFieldSelector(resource=resource, divisor=Quantity(divisor) if divisor else None)
    made = Container(
        name="web",
        env=(EnvVar(name="X", value_from=EnvVarSource(resource_field_ref=source)),),
        resources=ResourceRequirements(
            limits={"cpu": Quantity("1500m"), "memory": Quantity("64Mi")}, requests={"cpu": Quantity("250m")}
        ),
    )
    assert env(made)["X"] == expected


def test_without_a_limit_the_node_is_the_limit() -> None:
    source = EnvVarSource(resource_field_ref=ResourceFieldSelector(resource="limits.cpu"))
    assert env(Container(name="web", env=(EnvVar(name="X", value_from=source),)))["X"] == "4"


def test_later_variables_may_use_earlier_ones_and_services() -> None:
    made = Container(
        name="web",
        env=(EnvVar(name="A", value="1"), EnvVar(name="B", value="$(A)-$(S)"), EnvVar(name="S", value="own")),
    )
    assert env(made, {"S": "service"}) == {"S": "own", "A": "1", "B": "1-service"}


CONFIG = ConfigMap(metadata=ObjectMeta(name="c"), data={"KEY": "v", "b": "w"})
SECRET = Secret(metadata=ObjectMeta(name="s"), data={"KEY": b64encode(b"hidden").decode()})


def test_whole_objects_become_variables_with_a_prefix() -> None:
    made = Container(
        name="web",
        env_from=(
            EnvFromSource(prefix="c.", config_map_ref=ConfigMapEnvSource(name="c")),
            EnvFromSource(secret_ref=SecretEnvSource(name="s")),
        ),
        env=(EnvVar(name="KEY", value="own"),),
    )
    assert env(made, config_maps={"c": CONFIG}, secrets={"s": SECRET}) == {"c.KEY": "v", "c.b": "w", "KEY": "own"}


def test_single_keys_become_variables() -> None:
    made = Container(
        name="web",
        env=(
            EnvVar(name="A", value_from=EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="c", key="KEY"))),
            EnvVar(name="B", value_from=EnvVarSource(secret_key_ref=SecretKeySelector(name="s", key="KEY"))),
            EnvVar(
                name="C",
                value_from=EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="no", key="KEY", optional=True)),
            ),
        ),
    )
    assert env(made, config_maps={"c": CONFIG}, secrets={"s": SECRET}) == {"A": "v", "B": "hidden"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="no", key="k")), 'configmap "no" not found'),
        (EnvVarSource(secret_key_ref=SecretKeySelector(name="no", key="k")), 'secret "no" not found'),
        (
            EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="c", key="k")),
            "couldn't find key k in ConfigMap default/c",
        ),
        (EnvVarSource(secret_key_ref=SecretKeySelector(name="s", key="k")), "couldn't find key k in Secret default/s"),
    ],
)
def test_what_is_missing_is_named(source: EnvVarSource, message: str) -> None:
    with pytest.raises(ConfigFault, match=message):
        env(
            Container(name="web", env=(EnvVar(name="X", value_from=source),)),
            config_maps={"c": CONFIG},
            secrets={"s": SECRET},
        )


def service(name: str, namespace: str = "default", ip: str = "10.96.0.9") -> Service:
    ports = (ServicePort(name="http", port=8765, protocol="TCP"), ServicePort(port=53, protocol="UDP"))
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(cluster_ip=ip, ports=ports))


def test_services_are_named_in_the_environment() -> None:
    found = service_variables([service("foo-bar")], "default", links=True)
    assert found["FOO_BAR_SERVICE_HOST"] == "10.96.0.9"
    assert found["FOO_BAR_SERVICE_PORT"] == "8765"
    assert found["FOO_BAR_SERVICE_PORT_HTTP"] == "8765"
    assert found["FOO_BAR_PORT"] == "tcp://10.96.0.9:8765"
    assert found["FOO_BAR_PORT_8765_TCP_ADDR"] == "10.96.0.9"
    assert found["FOO_BAR_PORT_53_UDP"] == "udp://10.96.0.9:53"


@pytest.mark.parametrize("links", [True, False])
def test_the_api_server_is_always_named_and_other_namespaces_never(links: bool) -> None:
    services = [
        service("kubernetes"),
        service("own", "mine"),
        service("other", "theirs"),
        service("headless", "mine", "None"),
    ]
    hosts = {key for key in service_variables(services, "mine", links) if key.endswith("_SERVICE_HOST")}
    assert hosts == {"KUBERNETES_SERVICE_HOST"} | ({"OWN_SERVICE_HOST"} if links else set())


def context(own: SecurityContext | None = None, shared: PodSecurityContext | None = None, image: Image = IMAGE) -> Any:
    made = Container(name="web", security_context=own)
    return security_context(pod(made, security_context=shared), made, image, "/seccomp")


def test_the_default_is_safe() -> None:
    found = context()
    assert found.seccomp.type == "RuntimeDefault" and not found.privileged and found.masked_paths is None


@pytest.mark.parametrize(
    ("own", "shared", "user", "group"),
    [
        (None, None, None, None),
        (None, PodSecurityContext(run_as_user=5, run_as_group=6), 5, 6),
        (SecurityContext(run_as_user=7), PodSecurityContext(run_as_user=5, run_as_group=6), 7, 6),
        (SecurityContext(run_as_user=0), PodSecurityContext(run_as_user=5), 0, None),
    ],
)
def test_the_containers_own_user_comes_first(own: Any, shared: Any, user: int | None, group: int | None) -> None:
    assert (context(own, shared).run_as_user, context(own, shared).run_as_group) == (user, group)


@pytest.mark.parametrize(
    ("own", "image", "message"),
    [
        (SecurityContext(run_as_non_root=True), IMAGE, "container has runAsNonRoot and image will run as root"),
        (SecurityContext(run_as_non_root=True, run_as_user=0), IMAGE, "container's runAsUser breaks non-root policy"),
        (
            SecurityContext(run_as_non_root=True),
            Image(id="i", username="www"),
            r"image has non-numeric user \(www\), cannot verify user is non-root",
        ),
    ],
)
def test_root_is_refused_where_it_is_forbidden(own: SecurityContext, image: Image, message: str) -> None:
    with pytest.raises(ConfigFault, match=message):
        context(own, image=image)


def test_an_ordinary_user_of_the_image_is_no_root() -> None:
    assert context(SecurityContext(run_as_non_root=True), image=Image(id="i", uid=1000)).run_as_user == 1000


def test_privileges_and_their_opposites() -> None:
    found = context(
        SecurityContext(
            capabilities=Capabilities(add=("NET_ADMIN", "CAP_SYS_TIME"), drop=("ALL",)),
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            proc_mount="Unmasked",
        ),
        PodSecurityContext(supplemental_groups=(1, 2), fs_group=2),
    )
    assert found.add_capabilities == ("NET_ADMIN", "SYS_TIME") and found.drop_capabilities == ("ALL",)
    assert found.no_new_privs and found.readonly_rootfs and found.masked_paths == ()
    assert found.supplemental_groups == (1, 2)


def test_a_privileged_container_has_no_seccomp_profile() -> None:
    assert context(SecurityContext(privileged=True)).seccomp.type == "Unconfined"


@pytest.mark.parametrize(
    ("spec", "mode"),
    [({}, "container"), ({"share_process_namespace": True}, "pod"), ({"host_pid": True}, "node")],
)
def test_processes_are_seen_as_far_as_the_pod_says(spec: dict[str, Any], mode: str) -> None:
    made = Container(name="web")
    found = security_context(pod(made, **spec), made, IMAGE, "")
    assert found.namespaces.pid is NamespaceMode(mode)


@pytest.mark.parametrize(("milli", "expected"), [(0, 2), (1, 2), (100, 102), (1000, 1024), (10**9, 262144)])
def test_cpu_requests_are_shares(milli: int, expected: int) -> None:
    assert shares(milli) == expected


@pytest.mark.parametrize(("milli", "expected"), [(0, 0), (5, 1000), (100, 10_000), (2000, 200_000)])
def test_cpu_limits_are_quotas(milli: int, expected: int) -> None:
    assert quota(milli) == expected


@pytest.mark.parametrize(
    ("requests", "limits", "score"),
    [
        ({}, {}, 1000),
        ({"memory": "1Gi"}, {}, 875),
        ({"cpu": "1"}, {}, 999),
        ({}, {"cpu": "1", "memory": "1Gi"}, -997),
        ({"memory": "8Gi"}, {}, 3),
    ],
)
def test_who_asked_for_more_memory_is_killed_later(
    requests: dict[str, str], limits: dict[str, str], score: int
) -> None:
    made = Container(
        name="web",
        resources=ResourceRequirements(
            requests={k: Quantity(v) for k, v in requests.items()}, limits={k: Quantity(v) for k, v in limits.items()}
        ),
    )
    assert oom_score_adjust(pod(made), made, 8 * 2**30) == score


def test_a_pod_asks_for_its_containers_or_for_a_larger_init_container() -> None:
    def sized(name: str, cpu: str) -> Container:
        return Container(name=name, resources=ResourceRequirements(requests={"cpu": Quantity(cpu)}))

    assert pod_requests(pod(sized("a", "1"), sized("b", "500m"))) == {"cpu": 1500}
    assert pod_requests(pod(sized("a", "1"), init_containers=(sized("i", "3"),))) == {"cpu": 3000}


def test_the_cgroup_of_a_pod_is_below_its_class() -> None:
    assert pod_cgroup(pod(), "/kybern/pods") == "/kybern/pods/besteffort/podu"


def test_the_configuration_of_a_container() -> None:
    made = Container(name="web", image="i:1", command=("run", "$(A)"), args=("$(B)",), working_dir="/w", tty=True)
    found = container_config(pod(made), made, Prepared(attempt=2, image=IMAGE, environment={"A": "1"}))
    assert (found.command, found.args, found.working_dir, found.tty) == (("run", "1"), ("$(B)",), "/w", True)
    assert found.log_path == "web/2.log" and found.envs == (("A", "1"),)
    assert found.labels["io.kubernetes.container.name"] == "web" and found.metadata.attempt == 2


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (VolumeMount(name="v", sub_path_expr="$(A)"), "must not be an absolute path"),
        (VolumeMount(name="v", sub_path_expr="$(UP)"), "must not contain '..'"),
        (VolumeMount(name="v", sub_path_expr="$(NO)"), "missing value for NO"),
        (VolumeMount(name="v", sub_path="/x"), "must not be an absolute path"),
    ],
)
def test_a_sub_path_that_leads_elsewhere_is_refused(mount: VolumeMount, message: str) -> None:
    with pytest.raises(ConfigFault, match=message):
        sub_path_of(mount, {"A": "/etc", "UP": "a/../../b"})


def test_a_sub_path_expression_is_expanded() -> None:
    assert sub_path_of(VolumeMount(name="v", sub_path_expr="logs/$(A)"), {"A": "x"}) == "logs/x"


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    made = pod(hostname="h", subdomain="sub", host_aliases=(HostAlias(ip="1.2.3.4", hostnames=("foo", "bar")),))
    text = hosts_file(made, ("10.0.0.2",), "cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "\n10.0.0.2\th.sub.default.svc.cluster.local\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n")


def test_on_the_hosts_network_its_hosts_file_is_kept() -> None:
    text = hosts_file(pod(host_network=True), (), "cluster.local", "127.0.0.1 localhost\n")
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "web-1"),
        ({"hostname": "h"}, "h"),
        ({"hostname": "h", "subdomain": "s"}, "h"),
        ({"hostname": "h", "subdomain": "s", "set_hostname_as_fqdn": True}, "h.s.default.svc.cluster.local"),
        ({"hostname_override": "over.example"}, "over.example"),
    ],
)
def test_the_hostname(spec: dict[str, Any], expected: str) -> None:
    assert hostname(pod(**spec), "cluster.local") == expected


HOST = DNSConfig(servers=("9.9.9.9",), searches=("example.com",))


@pytest.mark.parametrize(
    ("spec", "servers", "searches"),
    [
        ({}, ("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com")),
        ({"dns_policy": "Default"}, ("9.9.9.9",), ("example.com",)),
        ({"host_network": True}, ("9.9.9.9",), ("example.com",)),
        ({"dns_policy": "None", "dns_config": PodDNSConfig(nameservers=("1.1.1.1",))}, ("1.1.1.1",), ()),
    ],
)
def test_names_are_resolved_as_the_policy_says(spec: Any, servers: tuple[str, ...], searches: tuple[str, ...]) -> None:
    found = dns_config(pod(**spec), ("10.96.0.10",), "cluster.local", HOST)
    assert (found.servers, found.searches) == (servers, searches)


def test_the_pods_own_options_come_first() -> None:
    own = PodDNSConfig(options=(PodDNSConfigOption(name="ndots", value="2"), PodDNSConfigOption(name="edns0")))
    assert dns_config(pod(dns_config=own), ("10.96.0.10",), "c", HOST).options == ("ndots:2", "edns0")


def test_the_nodes_own_resolver_is_read() -> None:
    found = parse_resolv_conf("# x\nnameserver 1.1.1.1\nsearch a b\noptions ndots:1\n")
    assert found == DNSConfig(servers=("1.1.1.1",), searches=("a", "b"), options=("ndots:1",))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("me/app:1", "docker.io/me/app:1"),
        ("localhost:5000/a", "localhost:5000/a"),
        ("quay.io/a/b", "quay.io/a/b"),
    ],
)
def test_short_image_names_are_docker_hubs(image: str, expected: str) -> None:
    assert repository_of(image) == expected


def test_the_most_specific_credential_comes_first() -> None:
    def secret(text: str) -> Secret:
        return Secret(data={".dockerconfigjson": b64encode(text.encode()).decode()})

    wide = secret('{"auths":{"reg.example:5000":{"username":"wide","password":"p"}}}')
    auth = b64encode(b"team:pw").decode()
    narrow = secret('{"auths":{"https://reg.example:5000/team":{"auth":"' + auth + '"},"other":{"username":"no"}}}')
    found = credentials_for("reg.example:5000/team/app:1", [wide, narrow, secret("not json")])
    assert [(login.auth.username, login.auth.password) for login in found] == [("team", "pw"), ("wide", "p")]
    assert credentials_for("reg.example:5000/teams/app", [narrow]) == []


def test_burstable_pods_share_what_they_ask_for_and_best_effort_pods_next_to_nothing() -> None:
    def asking(cpu: str) -> Pod:
        found = ResourceRequirements(requests={"cpu": Quantity(cpu)})
        return pod(Container(name="a", resources=found))

    found = qos_limits([asking("500m"), asking("1"), pod()], "/pods", {"cpu": Quantity("2")}, 1 << 30)
    assert {path: limits.cpu_shares for path, limits in found.items()} == {
        "/pods": 2048,
        "/pods/burstable": 1536,
        "/pods/besteffort": 2,
    }
    assert [limits.memory_limit_bytes for limits in found.values()] == [1 << 30, -1, -1]


def test_what_a_pod_asks_for_as_a_whole_stands_in_for_the_sum_and_limits_who_has_no_limit() -> None:
    whole = ResourceRequirements(requests={"cpu": Quantity("2")}, limits={"cpu": Quantity("3")})
    own = Container(name="own", resources=ResourceRequirements(limits={"cpu": Quantity("1")}))
    found = pod(own, Container(name="free"), resources=whole)
    assert pod_requests(found)["cpu"] == 2000
    assert pod_resources(found).cpu_quota == 300_000
    assert [linux_resources(found, c, 1).cpu_quota for c in found.spec.containers] == [100_000, 300_000]
    assert qos_class(found) == "Burstable"


def test_names_and_servers_beyond_what_resolvers_read_are_left_out_and_told() -> None:
    servers = tuple(f"1.1.1.{n}" for n in range(1, 5))
    own = PodDNSConfig(nameservers=servers, searches=tuple(f"s{n}" for n in range(40)))
    wanted = wanted_dns(pod(dns_policy="None", dns_config=own), ("10.96.0.10",), "c", HOST)
    applied = within_limits(wanted)
    assert len(applied.servers) == 3 and len(applied.searches) == 32
    assert omitted(wanted) == [
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        "the applied nameserver line is: 1.1.1.1 1.1.1.2 1.1.1.3",
        "Search Line limits were exceeded, some search paths have been omitted, "
        f"the applied search line is: {' '.join(f's{n}' for n in range(32))}",
    ]
    assert omitted(applied) == []
    long = changed(wanted, searches=tuple(f"{n:0200}" for n in range(20)))
    assert len(within_limits(long).searches) == 10, "a line of 2,048 characters"


def test_of_huge_pages_a_container_and_its_pod_have_what_they_ask_for_and_of_other_sizes_none() -> None:
    pages = {"hugepages-2Mi": Quantity("4Mi"), "cpu": Quantity("1")}
    asks = Container(name="a", resources=ResourceRequirements(limits=pages))
    found = Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=(asks, Container(name="b"))))
    sizes = ("2Mi", "1Gi")
    each = [linux_resources(found, c, 1, sizes).hugepage_limits for c in found.spec.containers]
    assert each == [{"2Mi": 4 << 20, "1Gi": 0}, {"2Mi": 0, "1Gi": 0}]
    assert pod_resources(found, page_sizes=sizes).hugepage_limits == {"2Mi": 4 << 20, "1Gi": 0}
