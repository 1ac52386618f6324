"""The objects that scripts create: `create deployment web replicas=3 image=web:2`, as little said as the script is about."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kybern.api.codec import from_builtins
from kybern.api.kinds import KINDS

Options = Mapping[str, str]

TYPES: dict[str, type[Any]] = {kind.kind.lower(): kind.type for kind in KINDS}
"""Of two versions the newer one: it stands later."""
NAMESPACED = {kind.kind.lower() for kind in KINDS if kind.namespaced}


def made(kind: str, name: str, options: Options) -> Any:
    """The object; `KIND.FIELD.PATH=JSON` options that no shorthand knows are set in its spec."""
    spec = SPECS.get(kind, no_spec)(name, options)
    for path, text in options.items():
        if path.startswith("spec."):
            put(spec, path.removeprefix("spec.").split("."), value_of(text))
    namespace = {"namespace": options.get("namespace", "default")} if kind in NAMESPACED else {}
    labels = {"app": options.get("app", name)} if kind == "pod" else {}
    labels |= {path.removeprefix("labels."): text for path, text in options.items() if path.startswith("labels.")}
    meta: dict[str, Any] = {"name": name, **namespace, "labels": labels}
    if "owner" in options:
        meta["ownerReferences"] = [owner_of(options["owner"], blocking="blocking" in options)]
    if "finalizer" in options:
        meta["finalizers"] = [options["finalizer"]]
    body: dict[str, Any] = {"metadata": meta, **({"spec": spec} if spec else {})}
    for path, text in options.items():
        if path.startswith(("annotations.", "data.", "stringData.")):
            into, _, key = path.partition(".")
            (meta if into == "annotations" else body).setdefault(into, {})[key] = text
    if "type" in options:
        body["type"] = options["type"]
    return from_builtins(TYPES[kind], body)


def owner_of(text: str, *, blocking: bool) -> dict[str, Any]:
    """`kind/name/uid`"""
    kind, name, uid = text.split("/")
    struct = TYPES[kind]()
    return {
        "apiVersion": struct.api_version, "kind": struct.kind, "name": name, "uid": uid, "blockOwnerDeletion": blocking,
    }  # fmt: skip


def value_of(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def put(spec: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        spec = spec.setdefault(name, {})
    spec[path[-1]] = value


def template(name: str, options: Options, **spec: Any) -> dict[str, Any]:
    """Options that begin with `pod.` are what the simulated kubelet is told: `pod.ready=never`."""
    told = {f"simulated/{key[4:]}": value for key, value in options.items() if key.startswith("pod.")}
    container: dict[str, Any] = {"name": "main", "image": options.get("image", f"{name}:1")}
    requests = {key[9:]: value for key, value in options.items() if key.startswith("requests.")}
    if requests:
        container["resources"] = {"requests": requests}
    return {
        "metadata": {"labels": {"app": options.get("app", name)}, **({"annotations": told} if told else {})},
        "spec": {"containers": [container], **spec},
    }


def selector(name: str, options: Options) -> dict[str, Any]:
    return {"matchLabels": {"app": options.get("app", name)}}


def workload(name: str, options: Options) -> dict[str, Any]:
    return {"selector": selector(name, options), "template": template(name, options)}


def replicated(name: str, options: Options) -> dict[str, Any]:
    return {"replicas": int(options.get("replicas", "1")), **workload(name, options)}


def deployment(name: str, options: Options) -> dict[str, Any]:
    spec = replicated(name, options)
    limits = {key: value_of(options[key]) for key in ("maxSurge", "maxUnavailable") if key in options}
    if limits:
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": limits}
    return spec


def replication_controller(name: str, options: Options) -> dict[str, Any]:
    return {**replicated(name, options), "selector": {"app": options.get("app", name)}}


def stateful_set(name: str, options: Options) -> dict[str, Any]:
    return {**replicated(name, options), "serviceName": name}


def job(name: str, options: Options) -> dict[str, Any]:
    return {"template": template(name, options, restartPolicy="Never")}


def cron_job(name: str, options: Options) -> dict[str, Any]:
    schedule = options.get("schedule", "* * * * *").replace("_", " ")
    return {"schedule": schedule, "jobTemplate": {"spec": job(name, options)}}


def service(name: str, options: Options) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {"selector": {"app": options.get("app", name)}, "ports": ports}


def pod(name: str, options: Options) -> dict[str, Any]:
    spec: dict[str, Any] = template(name, options)["spec"]
    return spec


def budget(name: str, options: Options) -> dict[str, Any]:
    return {"selector": selector(name, options)}


def autoscaler(name: str, options: Options) -> dict[str, Any]:
    return {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}


def no_spec(name: str, options: Options) -> dict[str, Any]:
    return {}


SPECS: dict[str, Callable[[str, Options], dict[str, Any]]] = {
    "cronjob": cron_job,
    "daemonset": workload,
    "deployment": deployment,
    "horizontalpodautoscaler": autoscaler,
    "job": job,
    "pod": pod,
    "poddisruptionbudget": budget,
    "replicaset": replicated,
    "replicationcontroller": replication_controller,
    "service": service,
    "statefulset": stateful_set,
}
