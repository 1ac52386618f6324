"""Operators as people write them: kopf's own examples, as published, and one of ours with the official client. They run
beside an API server on loopback, and in pods of a whole cluster, with a ServiceAccount and no more rights than they need."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Cluster, until
from packages import MOUNT, VARIABLES, VOLUME, skip_if_unfit
from served_api import Served

pytestmark = pytest.mark.clients

NAME = "kopfexample/kopf-example-1"


@dataclass(frozen=True)
class Example:
    """What an operator says once its object is made, changed and deleted."""

    name: str
    made: tuple[str, ...]
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


EXAMPLES = (
    Example("01-minimal", ("And here we are!", "Handler 'create_fn' succeeded", "Merge-patching the status")),
    Example("02-children", ("Handler 'create_fn' succeeded",)),
    Example("03-exceptions", ("Fail once and for all", "Creation is processed: 1 succeeded; 3 failed")),
    Example("04-events", ("Handler 'create_fn' succeeded",)),
    Example(
        "05-handlers",
        ("CREATED 1st", "CREATED 2nd", "FIELD CHANGED: None -> value", "Handling cycle is finished"),
        ("UPDATED", "FIELD CHANGED: value -> changed", "Updating is processed: 2 succeeded; 0 failed"),
        ("DELETED 1st", "DELETED 2nd", "Removing the finalizer", "Deleted, really deleted"),
    ),
    Example("09-testing", ("Something was logged here.", "Creation is processed: 1 succeeded; 0 failed")),
    Example("07-subhandlers", ("Handling creation for item1", "Creation is processed: 1 succeeded; 0 failed")),
    Example("08-events", ("'type': 'ADDED'",), ("'type': 'MODIFIED'",), ("'type': 'DELETED'",)),
    Example(
        "11-filtering-handlers",
        (
            "Label is matching",
            "Annotation is matching",
            "Field value is satisfied",
            "Creation is processed: 10 succeeded",
        ),
    ),
    Example(
        "14-daemons",
        ("Ping from a sync daemon: field='value', retry=3", "Ping from an async daemon: field='value'"),
        deleted=("Removing the finalizer",),
    ),
    Example("15-timers", ("Ping from a sync timer: field='value'",)),
    Example("16-indexing", ("Timer 'intervalled' succeeded",)),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
async def test_an_example_of_kopf_sees_its_object_made_changed_and_deleted(
    example: Example, examples: Path, served: Served
) -> None:
    await served.run("kubectl", "apply", "-f", examples / "crd.yaml")
    script = examples / example.name / "example.py"
    operator = await served.start(sys.executable, "-m", "kopf", "run", "-v", "--standalone", "-n", "default", script)
    await operator.says("Starting the watch-stream for kopfexamples")

    await served.run("kubectl", "apply", "-f", examples / "obj.yaml")
    for text in example.made:
        await operator.says(text)
    await CHECKS.get(example.name, nothing)(served)

    change = json.dumps({"spec": {"field": "changed"}})
    await served.run("kubectl", "patch", "-f", examples / "obj.yaml", "--type=merge", "-p", change)
    for text in example.changed:
        await operator.says(text)

    await served.run("kubectl", "delete", "-f", examples / "obj.yaml", "--timeout=20s")
    for text in example.deleted:
        await operator.says(text)
    assert "NotFound" in await served.run("kubectl", "get", NAME, check=False)


async def nothing(served: Served) -> None:
    pass


async def its_status_is_set(served: Served) -> None:
    message = "{.status.create_fn.message}"
    assert await served.run("kubectl", "get", NAME, "-o", f"jsonpath={message}") == "hello world"
    assert "hello world" in await served.run("kubectl", "get", "kex")


async def its_pod_is_its_child(served: Served) -> None:
    (pod,) = json.loads(await served.run("kubectl", "get", "pods", "-o", "json"))["items"]
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"], owner["name"]) == ("kopf.dev/v1", "KopfExample", "kopf-example-1")
    children = "{.status.create_fn.children[0]}"
    assert await served.run("kubectl", "get", NAME, "-o", f"jsonpath={children}") == pod["metadata"]["uid"]


async def its_events_are_shown(served: Served) -> None:
    shown = await served.run("kubectl", "describe", NAME)
    assert "Some message" in shown and "Exception text." in shown


CHECKS = {"01-minimal": its_status_is_set, "02-children": its_pod_is_its_child, "04-events": its_events_are_shown}


async def until_greeted(served: Served, times: str) -> None:
    async with asyncio.timeout(20):
        while await served.run("kubectl", "get", "greeting/hello", "-o", "jsonpath={.status.greeted}") != times:
            await asyncio.sleep(0.05)


async def test_an_operator_with_the_official_client_keeps_children_and_status(served: Served) -> None:
    operator = await served.start(sys.executable, Path(__file__).parent / "greeter_operator.py")
    await operator.says("watching")

    greeting = {
        "apiVersion": "example.com/v1", "kind": "Greeting", "metadata": {"name": "hello"}, "spec": {"names": ["Ada"]},
    }  # fmt: skip
    await served.run("kubectl", "apply", "-f", "-", stdin=json.dumps(greeting))
    await operator.says("hello greets Ada")
    await until_greeted(served, "1")

    await served.run("kubectl", "patch", "greeting/hello", "--type=merge", "-p", '{"spec":{"names":["Ada","Alan"]}}')
    await operator.says("hello greets Ada, Alan")
    await until_greeted(served, "2")
    child = json.loads(await served.run("kubectl", "get", "configmap", "hello", "-o", "json"))
    assert child["data"] == {"Ada": "Hello, Ada!", "Alan": "Hello, Alan!"}
    assert [owner["kind"] for owner in child["metadata"]["ownerReferences"]] == ["Greeting"]
    found = json.loads(await served.run("kubectl", "get", "greeting", "hello", "-o", "json"))
    assert found["status"] == {"greeted": 2, "observedGeneration": 2}

    await served.run("kubectl", "delete", "greeting", "hello", "--timeout=20s")
    await operator.says("hello says goodbye")
    assert "NotFound" in await served.run("kubectl", "get", "configmap", "hello", check=False)
    assert "Traceback" not in operator.said


# --- in pods ----------------------------------------------------------------------------------------------------------

PODS = "operators"
"""The namespace of those that run in pods."""
IN_PODS = ("01-minimal", "05-handlers", "11-filtering-handlers", "15-timers")
EVERYTHING = ["create", "delete", "get", "list", "patch", "update", "watch"]
DEFINITIONS = {
    "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
    "verbs": ["create", "get", "list", "watch"],
}  # fmt: skip
NAMESPACES = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}
"""Where kopf may not look at these it asks for them nine times in the first minute, before it does without."""


def rule(group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": EVERYTHING}


def operator_in_a_pod(name: str, command: list[str], *rules: dict[str, Any]) -> list[dict[str, Any]]:
    """Its script is in a ConfigMap of its name; Python's packages are this environment's, as an image would have them."""
    meta, rbac = {"name": name, "namespace": PODS}, "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", **meta}]
    container = {
        "name": "operator", "image": "kybern.local/host", "command": ["python3", *command],
        "env": [*VARIABLES, {"name": "NAMESPACE", "value": PODS}],
        "volumeMounts": [MOUNT, {"name": "script", "mountPath": "/operator"}],
    }  # fmt: skip
    volumes = [VOLUME, {"name": "script", "configMap": {"name": name}}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name},
         "rules": [DEFINITIONS, NAMESPACES]},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}, "subjects": subjects,
         "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name}},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta, "subjects": subjects,
         "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
         "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
             "metadata": {"labels": {"app": name}},
             "spec": {"serviceAccountName": name, "containers": [container], "volumes": volumes}}}},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def manned(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster in which operators may be started."""
    pytest.importorskip("kopf")
    skip_if_unfit()
    cluster.kubectl("create", "namespace", PODS)
    yield cluster
    cluster.kubectl("delete", "crd", "greetings.example.com", "kopfexamples.kopf.dev", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", PODS, "--wait=false")


def started(cluster: Cluster, name: str, script: Path, command: list[str], *rules: dict[str, Any]) -> Callable[[], str]:
    """What it has said so far."""
    cluster.kubectl("-n", PODS, "create", "configmap", name, f"--from-file=main.py={script}")
    manifests = {"apiVersion": "v1", "kind": "List", "items": operator_in_a_pod(name, command, *rules)}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifests))
    cluster.kubectl("-n", PODS, "rollout", "status", f"deploy/{name}", "--timeout=60s")
    return lambda: cluster.kubectl("-n", PODS, "logs", f"deploy/{name}", "--tail=-1", check=False)


def until_said(log: Callable[[], str], *texts: str) -> None:
    until(lambda: not [text for said in [log()] for text in texts if text not in said])


@pytest.mark.parametrize("name", IN_PODS)
def test_an_example_of_kopf_runs_in_a_pod(name: str, manned: Cluster, examples: Path) -> None:
    example = next(one for one in EXAMPLES if one.name == name)
    manned.kubectl("apply", "-f", str(examples / "crd.yaml"))
    command = ["-m", "kopf", "run", "-v", "--standalone", "-n", PODS, "/operator/main.py"]
    log = started(
        manned, f"kopf-{name}", examples / name / "example.py", command, rule("kopf.dev", "*"), rule("", "events")
    )
    until_said(log, "Starting the watch-stream for kopfexamples")
    place, obj = ("-n", PODS), str(examples / "obj.yaml")
    manned.kubectl(*place, "apply", "-f", obj)
    until_said(log, *example.made)
    manned.kubectl(*place, "patch", "-f", obj, "--type=merge", "-p", '{"spec":{"field":"changed"}}')
    until_said(log, *example.changed)
    manned.kubectl(*place, "delete", "-f", obj, "--timeout=20s")
    until_said(log, *example.deleted)
    assert "Traceback" not in log()
    manned.kubectl(*place, "delete", "deployment", f"kopf-{name}", "--wait=false")


def test_an_operator_with_the_official_client_runs_in_a_pod(manned: Cluster) -> None:
    greetings = rule("example.com", "greetings", "greetings/status")
    script = Path(__file__).parent / "greeter_operator.py"
    log = started(manned, "greeter", script, ["/operator/main.py"], greetings, rule("", "configmaps"))
    until_said(log, "watching")
    place, meta = ("-n", PODS), {"name": "hello"}
    greeting = {"apiVersion": "example.com/v1", "kind": "Greeting", "metadata": meta, "spec": {"names": ["Ada"]}}
    manned.kubectl(*place, "apply", "-f", "-", stdin=json.dumps(greeting))
    read = (*place, "get", "greeting/hello", "-o", "jsonpath={.status.greeted}")
    until(lambda: manned.kubectl(*read) == "1")
    assert manned.kubectl(*place, "get", "configmap", "hello", "-o", "jsonpath={.data}") == '{"Ada":"Hello, Ada!"}'
    account = f"system:serviceaccount:{PODS}:greeter"
    assert manned.kubectl("auth", "can-i", "list", "secrets", "--as", account, *place, check=False).strip() == "no"
    manned.kubectl(*place, "delete", "greeting", "hello", "--timeout=20s")
    until_said(log, "hello says goodbye")
    assert "Traceback" not in log()
