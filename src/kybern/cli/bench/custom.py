"""Custom objects beside ConfigMaps: how many of them are created in the time in which ConfigMaps are.

An object has 2 KB, its schema 100 properties. Both loads take turns, so that whatever else the machine does hits both.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kybern.cli.bench.seed import VALUE, WRITE, send, wait_for
from kybern.cli.bench.wrk import Load, Report, measure
from kybern.web.client import Client

GROUP, PLURAL, KIND = "bench.kybern.io", "gadgets", "Gadget"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OBJECTS = f"/apis/{GROUP}/v1/namespaces/{WRITE}/{PLURAL}"
OF_EACH_SORT = 25
TURNS = 3
SORTS: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({"type": "string", "maxLength": 64}, "some text of a field"),
    "number": ({"type": "integer", "minimum": 0, "maximum": 1000}, 500),
    "flag": ({"type": "boolean"}, True),
    "list": ({"type": "array", "items": {"type": "string"}}, ["one", "two"]),
}
"""Of properties: their schemas and values."""


def definition() -> dict[str, Any]:
    properties = {f"{sort}{n}": schema for sort, (schema, _) in SORTS.items() for n in range(OF_EACH_SORT)}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": KIND, "plural": PLURAL}
    return {
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def numbered(meta: str, **parts: Any) -> str:
    """The body of one of many, whose number wrk fills in."""
    return json.dumps({"metadata": {"name": f"{meta}-@N@"}, **parts})


def loads(turn: int) -> tuple[Load, Load]:
    """The ConfigMaps of a turn, and the custom objects."""
    name, spec = f"turn{turn}", {f"{sort}{n}": value for sort, (_, value) in SORTS.items() for n in range(OF_EACH_SORT)}
    config_map = numbered(name, data={"key": VALUE})
    gadget = numbered(name, apiVersion=f"{GROUP}/v1", kind=KIND, spec=spec)
    return Load(f"/api/v1/namespaces/{WRITE}/configmaps", "POST", config_map), Load(OBJECTS, "POST", gadget)


async def of_config_maps(client: Client, url: str, token: str, seconds: float) -> Report:
    """The rate of custom objects, where that of ConfigMaps is 1."""
    sums = [0.0, 0.0]
    async with defined(client):
        for turn in range(TURNS):
            for place, load in enumerate(loads(turn)):
                report = await measure(url, token, load, seconds / TURNS)
                if report.failed:
                    return report
                sums[place] += report.rate
    return Report(sums[1] / sums[0])


@asynccontextmanager
async def defined(client: Client) -> AsyncIterator[None]:
    await forget(client)
    await send(client, "POST", DEFINITIONS, definition())
    try:
        await wait_for(client, OBJECTS, f"{KIND}List")
        yield
    finally:
        await forget(client)


async def forget(client: Client) -> None:
    """With the definition go its objects."""
    address = f"{DEFINITIONS}/{PLURAL}.{GROUP}"
    await send(client, "DELETE", address, allowed=[404])
    await wait_for(client, address, "Status")
