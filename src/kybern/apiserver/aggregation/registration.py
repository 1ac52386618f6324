"""APIServices of what this server serves itself: made, kept and taken away as groups and versions come and go.

Whoever lists APIServices so sees all of the API. Built-in ones bear the label `onstart`, those of custom kinds `true`.
"""

import asyncio

from kybern.api.apiregistration_v1 import APIService, APIServiceSpec
from kybern.api.custom import is_custom
from kybern.api.errors import AlreadyExists, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.discovery import GROUP_ORDER
from kybern.apiserver.machine import Machine
from kybern.apiserver.request import Objects

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
FIRST_PRIORITY, STEP = 18_000, 100
CUSTOM = (1_000, 100)
BUILT_IN_VERSION = 15


def wanted(machine: Machine) -> dict[str, APIService]:
    found: dict[str, APIService] = {}
    for resource in machine.resources():
        kind = resource.kind
        name = f"{kind.version}.{kind.group}"
        if name not in found:
            found[name] = local(kind.group, kind.version, custom=is_custom(kind.type))
    return found


def local(group: str, version: str, *, custom: bool) -> APIService:
    priorities = (FIRST_PRIORITY - STEP * GROUP_ORDER.get(group, 0), BUILT_IN_VERSION)
    group_priority, version_priority = CUSTOM if custom else priorities
    return APIService(
        metadata=ObjectMeta(name=f"{version}.{group}", labels={MANAGED: "true" if custom else "onstart"}),
        spec=APIServiceSpec(
            group=group or None,
            version=version,
            group_priority_minimum=group_priority,
            version_priority=version_priority,
        ),
    )


async def register(machine: Machine, objects: Objects) -> None:
    """One pass: what is missing is made, what we made and is served no more goes. Others' are left as they are."""
    needed = wanted(machine)
    present = {one.metadata.name or "": one for one in objects.list(APIService)}
    async with asyncio.TaskGroup() as tasks:
        for name, service in needed.items():
            if name not in present:
                tasks.create_task(made(service, objects))
        for name, service in present.items():
            ours = MANAGED in (service.metadata.labels or {})
            if ours and service.spec.service is None and name not in needed:
                tasks.create_task(gone(name, objects))


async def made(service: APIService, objects: Objects) -> None:
    try:
        await objects.create(service)
    except AlreadyExists:
        return


async def gone(name: str, objects: Objects) -> None:
    try:
        await objects.delete(APIService, name)
    except NotFound:
        return
