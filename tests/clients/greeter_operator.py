"""An operator as one writes it with the official client: it makes its own kind, watches it, keeps a ConfigMap for each
object, tells what it did in the status and cleans up behind a finalizer. In a pod it is its service account, outside whom
the kubeconfig names."""

import os
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

GROUP, VERSION, PLURAL = "example.com", "v1", "greetings"
NAMESPACE = os.environ.get("NAMESPACE", "default")
FINALIZER = "example.com/greeter"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["names"],
            "properties": {"names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}},
        },
        "status": {
            "type": "object",
            "properties": {"greeted": {"type": "integer"}, "observedGeneration": {"type": "integer"}},
        },
    },
}


def make_kind() -> None:
    api = client.ApiextensionsV1Api()
    names = client.V1CustomResourceDefinitionNames(kind="Greeting", plural=PLURAL, singular="greeting")
    version = client.V1CustomResourceDefinitionVersion(
        name=VERSION, served=True, storage=True,
        schema=client.V1CustomResourceValidation(open_apiv3_schema=SCHEMA),
        subresources=client.V1CustomResourceSubresources(status={}),
    )  # fmt: skip
    definition = client.V1CustomResourceDefinition(
        api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition",
        metadata=client.V1ObjectMeta(name=f"{PLURAL}.{GROUP}"),
        spec=client.V1CustomResourceDefinitionSpec(group=GROUP, scope="Namespaced", names=names, versions=[version]),
    )  # fmt: skip
    api.create_custom_resource_definition(definition)
    fields = f"metadata.name={PLURAL}.{GROUP}"
    for event in watch.Watch().stream(api.list_custom_resource_definition, field_selector=fields, timeout_seconds=20):
        conditions = event["object"].status.conditions if event["object"].status else None
        if any(found.type == "Established" and found.status == "True" for found in conditions or ()):
            return
    raise TimeoutError(f"{PLURAL}.{GROUP} was not established")


def reconcile(customs: client.CustomObjectsApi, core: client.CoreV1Api, greeting: dict[str, Any]) -> None:
    meta, names = greeting["metadata"], greeting["spec"]["names"]
    name, place = meta["name"], (GROUP, VERSION, NAMESPACE, PLURAL, meta["name"])
    if "deletionTimestamp" in meta:
        try:
            core.delete_namespaced_config_map(name, NAMESPACE)
        except ApiException as problem:
            if problem.status != 404:
                raise
        print(f"{name} says goodbye")
        customs.patch_namespaced_custom_object(*place, {"metadata": {"finalizers": []}})
        return
    if FINALIZER not in meta.get("finalizers", ()):
        customs.patch_namespaced_custom_object(*place, {"metadata": {"finalizers": [FINALIZER]}})
    if greeting.get("status", {}).get("observedGeneration") == meta["generation"]:
        return
    owner = client.V1OwnerReference(
        api_version=greeting["apiVersion"], kind=greeting["kind"], name=name, uid=meta["uid"], controller=True
    )
    child = client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, owner_references=[owner]),
        data={greeted: f"Hello, {greeted}!" for greeted in names},
    )
    try:
        core.create_namespaced_config_map(NAMESPACE, child)
    except ApiException as problem:
        if problem.status != 409:
            raise
        core.replace_namespaced_config_map(name, NAMESPACE, child)
    print(f"{name} greets {', '.join(names)}")
    status = {"greeted": len(names), "observedGeneration": meta["generation"]}
    customs.patch_namespaced_custom_object_status(*place, {"status": status})


def main() -> None:
    config.load_config()
    make_kind()
    customs, core = client.CustomObjectsApi(), client.CoreV1Api()
    print("watching")
    for event in watch.Watch().stream(customs.list_namespaced_custom_object, GROUP, VERSION, NAMESPACE, PLURAL):
        if event["type"] != "DELETED":
            reconcile(customs, core, event["object"])


if __name__ == "__main__":
    main()
