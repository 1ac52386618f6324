"""Definitions to put into an API server, and waiting until they are served."""

import asyncio
from typing import Any

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 10},
                "color": {"type": "string", "default": "blue", "enum": ["blue", "green"]},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "port": {"type": "integer", "format": "int32"},
                            "protocol": {"type": "string", "default": "TCP"},
                        },
                    },
                },
                "replicas": {"type": "integer"},
            },
        },
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
        },
    },
}


def version(name: str = "v1", schema: Any = None, **more: Any) -> dict[str, Any]:
    openapi = SCHEMA if schema is None else schema
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": openapi}, **more}


def definition(plural: str = "widgets", kind: str = "Widget", *versions: Any, **more: Any) -> dict[str, Any]:
    group = more.pop("group", "example.com")
    names = {"plural": plural, "kind": kind, **more.pop("names", {})}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": more.pop("scope", "Namespaced"),
            "names": names,
            "versions": list(versions) or [version()],
            **more,
        },
    }


def widget(name: str = "a", api_version: str = "example.com/v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 3, **spec}}


async def passes() -> None:
    """Returns when whatever was woken has had its turn."""
    for _ in range(30):
        await asyncio.sleep(0)


async def serve(api: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """Create a definition; what it is when it is served."""
    answer = await api.post(DEFINITIONS, wanted)
    assert answer.status == 201, answer.body
    found = await looked_at(api, wanted["metadata"]["name"])
    assert condition(found, "Established") == "True", found["status"]
    return found


async def looked_at(api: Any, name: str) -> dict[str, Any]:
    """A definition that the server has decided about; a large one is compiled beside the loop."""
    while True:
        await passes()
        found: dict[str, Any] = (await api.get(f"{DEFINITIONS}/{name}")).body
        if "conditions" in found["status"]:
            return found


def condition(found: dict[str, Any], type_: str) -> str:
    return next((str(one["status"]) for one in found["status"]["conditions"] if one["type"] == type_), "")
