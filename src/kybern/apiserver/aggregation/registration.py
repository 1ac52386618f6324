"""APIServices of what this server serves itself: made, kept and taken away as groups and versions come and go.

Whoever lists APIServices so sees all of the API, but the group of APIServices itself, whose server is always this one.
Built-in ones bear the label `onstart`: they are put right when the server starts, and are an administrator's from then
on. Those of custom kinds bear `true`, and are kept as they are.
"""

import asyncio

from kybern.api.apiregistration_v1 import APIService, APIServiceSpec
from kybern.api.custom import is_custom
from kybern.api.errors import AlreadyExists, Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.machine import Machine
from kybern.apiserver.request import Objects
from kybern.registry.parts import changed

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
ALWAYS, ON_START = "true", "onstart"
OWN_GROUP = "apiregistration.k8s.io"
CUSTOM = (1_000, 100)
GROUP_PRIORITIES = {
    OWN_GROUP: 20_000, "": 18_000, "apps": 17_800, "events.k8s.io": 17_750, "authentication.k8s.io": 17_700, "authorization.k8s.io": 17_600,
    "autoscaling": 17_500, "batch": 17_400, "certificates.k8s.io": 17_300, "networking.k8s.io": 17_200, "policy": 17_100,
    "rbac.authorization.k8s.io": 17_000, "storage.k8s.io": 16_800, "apiextensions.k8s.io": 16_700,
    "admissionregistration.k8s.io": 16_700, "scheduling.k8s.io": 16_600, "coordination.k8s.io": 16_500,
    "node.k8s.io": 16_300, "discovery.k8s.io": 16_200, "resource.k8s.io": 16_200, "flowcontrol.apiserver.k8s.io": 16_100,
    "storagemigration.k8s.io": 15_800,
}  # fmt: skip
"""Upstream's, by which clients choose where a name exists in several groups."""
VERSION_PRIORITIES = {
    ("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21, ("resource.k8s.io", "v1"): 20,
}  # fmt: skip
VERSION_PRIORITY = 15


def wanted(machine: Machine) -> dict[str, APIService]:
    found: dict[str, APIService] = {}
    for resource in machine.resources():
        kind = resource.kind
        name = f"{kind.version}.{kind.group}"
        if name not in found and kind.group != OWN_GROUP:
            found[name] = local(kind.group, kind.version, custom=is_custom(kind.type))
    return found


def local(group: str, version: str, *, custom: bool) -> APIService:
    built_in = GROUP_PRIORITIES.get(group, CUSTOM[0]), VERSION_PRIORITIES.get((group, version), VERSION_PRIORITY)
    group_priority, version_priority = CUSTOM if custom else built_in
    return APIService(
        metadata=ObjectMeta(name=f"{version}.{group}", labels={MANAGED: ALWAYS if custom else ON_START}),
        spec=APIServiceSpec(
            group=group or None,
            version=version,
            group_priority_minimum=group_priority,
            version_priority=version_priority,
        ),
    )


async def register(machine: Machine, objects: Objects, *, starting: bool) -> None:
    """One pass: what is missing is made, what we keep is put right, what is served no more goes. Others' are left."""
    needed = wanted(machine)
    present = {one.metadata.name or "": one for one in objects.list(APIService)}
    async with asyncio.TaskGroup() as tasks:
        for name, service in needed.items():
            found = present.get(name)
            if not starting and managed(service) == ON_START:
                continue
            if found is None:
                tasks.create_task(made(service, objects))
            elif managed(found) and found.spec != service.spec:
                tasks.create_task(put_right(found, service, objects))
        for name, service in present.items():
            if name not in needed and managed(service) in ((ALWAYS, ON_START) if starting else (ALWAYS,)):
                tasks.create_task(gone(name, objects))


def managed(service: APIService) -> str:
    return (service.metadata.labels or {}).get(MANAGED, "")


async def put_right(found: APIService, service: APIService, objects: Objects) -> None:
    try:
        await objects.update(changed(found, spec=service.spec))
    except (Conflict, NotFound):
        return


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
