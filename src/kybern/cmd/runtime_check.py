"""Can a CRI runtime run this cluster's containers? It is asked once, before anything is started."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.aio.timeouts import timeout
from kybern.cmd.config import Cluster
from kybern.cmd.place import first
from kybern.cmd.preflight import Problem
from kybern.cmd.remote_engine import driven, plugin_name
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.remote import cni
from kybern.runtime.remote.runtime import RemoteRuntime

ANSWER_SECONDS = 15.0


async def problems_of(cluster: Cluster) -> list[Problem]:
    path = cluster.runtime.removeprefix("unix://")
    if not await asyncio.to_thread(Path(path).is_socket):
        fix = "apt-get install -y containerd, then systemctl start containerd"
        return [Problem(f"no container runtime listens on {path}", fix)]
    return await ask(cluster)


async def ask(cluster: Cluster) -> list[Problem]:
    place, clock = first(cluster), SystemClock()
    runtime = driven(place, clock)
    try:
        async with timeout(ANSWER_SECONDS), runtime.answering():
            await runtime.version()
            return [problem async for problem in faults(cluster, runtime, plugin_name(place))]
    except RuntimeFault as fault:
        fix = 'take "cri" out of disabled_plugins in /etc/containerd/config.toml, then systemctl restart containerd'
        return [Problem(f"{cluster.runtime} does not speak CRI v1: {fault}", fix)]
    except TimeoutError:
        return [Problem(f"{cluster.runtime} does not answer", "systemctl restart containerd")]


async def faults(cluster: Cluster, runtime: RemoteRuntime, plugin: str) -> AsyncIterator[Problem]:
    if await runtime.cgroup_driver() == "systemd":
        yield Problem(
            f"{cluster.runtime} puts containers into systemd's cgroups, and this kubelet uses cgroupfs",
            "set SystemdCgroup = false in its configuration, and restart it",
        )
    if cluster.pod_network != "cni" and (found := cni.others(cni.places(await runtime.info()), plugin)):
        yield Problem(
            f"{cluster.runtime} has a pod network already: {found[0]}", "kybern up --pod-network cni, or move that away"
        )
