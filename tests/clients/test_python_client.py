"""The official Python client against a whole cluster: typed calls, a watch, an exec stream, the dynamic client."""

import time
from collections.abc import Iterator

import pytest
from conftest import Cluster
from kubernetes import client, config, dynamic, watch
from kubernetes.stream import stream

# The client leaves the connection of a watch that was broken off to the garbage collector.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(cluster.kubeconfig)) as made:
        yield made


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    core = client.CoreV1Api(api)
    made = core.create_namespace({"metadata": {"generateName": "py-"}})
    yield made.metadata.name
    core.delete_namespace(made.metadata.name)


def sleeper(name: str) -> dict[str, object]:
    container = {"name": "c", "image": "kybern.local/host", "command": ["sleep", "1000"]}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}


def test_a_config_map_is_created_read_patched_listed_and_deleted(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})
    core.patch_namespaced_config_map("a", namespace, {"data": {"k2": "v2"}})
    assert core.read_namespaced_config_map("a", namespace).data == {"k": "v", "k2": "v2"}
    listed = core.list_namespaced_config_map(namespace, label_selector="x=y").items
    assert [item.metadata.name for item in listed] == ["a"]
    core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(client.ApiException) as refused:
        core.read_namespaced_config_map("a", namespace)
    assert refused.value.status == 404


def test_a_watch_sees_a_pod_become_running(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, sleeper("watched"))
    phases = []
    for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=30):
        phases.append(event["object"].status.phase)
        if phases[-1] == "Running":
            break
    assert phases[0] == "Pending"
    assert phases[-1] == "Running"


def test_exec_runs_a_command_and_returns_what_it_printed(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, sleeper("exec"))
    wait_until_running(core, "exec", namespace)
    said = stream(
        core.connect_get_namespaced_pod_exec,
        "exec",
        namespace,
        command=["sh", "-c", "echo out; echo err >&2"],
        stdout=True,
        stderr=True,
    )
    assert sorted(said.split()) == ["err", "out"]


def wait_until_running(core: client.CoreV1Api, name: str, namespace: str) -> None:
    deadline = time.monotonic() + 30
    while core.read_namespaced_pod(name, namespace).status.phase != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_deployment_of_the_typed_api_comes_up(api: client.ApiClient, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    labels = {"app": "py"}
    spec = client.V1DeploymentSpec(
        replicas=2,
        selector=client.V1LabelSelector(match_labels=labels),
        template=client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels=labels),
            spec=client.V1PodSpec(
                termination_grace_period_seconds=0,
                containers=[client.V1Container(name="c", image="kybern.local/host", command=["sleep", "1000"])],
            ),
        ),
    )
    apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="py"), spec=spec)
    )
    deadline = time.monotonic() + 30
    while apps.read_namespaced_deployment("py", namespace).status.available_replicas != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_dynamic_client_finds_every_kind_and_applies(api: client.ApiClient, namespace: str) -> None:
    found = dynamic.DynamicClient(api)
    config_maps = found.resources.get(api_version="v1", kind="ConfigMap")
    wanted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "d", "namespace": namespace},
        "data": {"a": "1"},
    }
    config_maps.server_side_apply(body=wanted, name="d", namespace=namespace, field_manager="py")
    assert config_maps.get(name="d", namespace=namespace).data.a == "1"
