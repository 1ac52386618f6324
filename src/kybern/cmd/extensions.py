"""Extension files in a running cluster: who loads them, and what each process makes of them.

The server asks their rules about writes, the scheduler theirs about nodes, and their controllers run beside ours, all
stopped and started again when a file changes. Those have an account of their own, which may do everything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.rbac_v1 import ClusterRoleBinding, RoleRef, Subject
from kybern.apiserver.request import Objects
from kybern.client import Client
from kybern.client.view import View
from kybern.cmd.config import Cluster
from kybern.extensions.files import Extensions
from kybern.extensions.rules import ControllerRule, SchedulerRule
from kybern.reconcile.controller import Controller
from kybern.reconcile.run import run_controllers
from kybern.scheduler.extension_points import Profile, Weighted
from kybern.scheduler.plugins.extensions import ExtensionFilter, ExtensionScore

ACCOUNT = "extension-controller"
BINDING = "kybern:extension-controller"
SCORE_WEIGHT = 10
"""A rule that somebody wrote for this cluster outweighs our own preferences."""


def extensions_of(cluster: Cluster) -> Extensions | None:
    """Broken only where a file never was in force."""
    return Extensions(map(Path, cluster.extensions), cluster.data / "extensions") if cluster.extensions else None


async def settle_rights(objects: Objects, *, wanted: bool) -> None:
    """What their controllers may do is up to their author, as long as there are any."""
    found = objects.get(ClusterRoleBinding, BINDING)
    if found is None and wanted:
        binding = ClusterRoleBinding(
            metadata=ObjectMeta(name=BINDING),
            role_ref=RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="cluster-admin"),
            subjects=(Subject(kind="ServiceAccount", name=ACCOUNT, namespace="kube-system"),),
        )
        await objects.create(binding)
    elif found is not None and not wanted:
        await objects.delete(ClusterRoleBinding, BINDING)


def with_rules(profile: Profile, rules: Callable[[], Sequence[SchedulerRule]]) -> Profile:
    return replace(
        profile,
        filters=(*profile.filters, ExtensionFilter(rules)),
        scorers=(*profile.scorers, Weighted(ExtensionScore(rules), SCORE_WEIGHT)),
    )


async def run_extension_controllers(extensions: Extensions, client: Client, clock: Clock, ids: Ids) -> None:
    """Each time with a View of their own, so that nothing of former ones is left."""
    changed = asyncio.Event()
    extensions.on_change.append(changed.set)
    while True:
        changed.clear()
        view = View(client, clock=clock, rng=ids.rng)
        loops = [controller_of(rule) for rule in extensions.controllers]
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(view.run()),
                tasks.create_task(run_controllers(client, view, loops, clock=clock, ids=ids)),
            ]
            await changed.wait()
            for task in running:
                task.cancel()


def controller_of(rule: ControllerRule) -> Controller[Any]:
    """A rule takes as much of (object, view, client, context) as it has use for."""
    count = len(signature(rule.function).parameters)

    async def reconcile(*given: Any) -> Any:
        return await rule.function(*given[:count])

    by: Callable[..., Awaitable[Any]] = reconcile
    return Controller(name=rule.function.__name__, reconciles=rule.kind, by=by, owns=rule.owns, reads=rule.reads)
