"""What the kernel enforces for pods: their cgroups, seen from the machine, while the pods run."""

from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.linux import cgroup_detect
from kybern.linux.cgroups_v1 import V1

pytestmark = pytest.mark.linux

FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.05; done"


def asked(**given: str) -> ResourceRequirements:
    found = {name: Quantity(text) for name, text in given.items()}
    return ResourceRequirements(requests=found, limits=found)


def enforced(path: str) -> tuple[int, int]:
    """CPU quota (of 100 ms) and bytes of memory of a group, whichever cgroups there are."""
    groups = cgroup_detect.detect()
    if isinstance(groups, V1):
        cpu, memory = groups.hierarchies["cpu"] + path, groups.hierarchies["memory"] + path
        quota = Path(cpu, "cpu.cfs_quota_us").read_text()
        return int(quota), int(Path(memory, "memory.limit_in_bytes").read_text())
    root = Path("/sys/fs/cgroup" + path)
    return int((root / "cpu.max").read_text().split()[0]), int((root / "memory.max").read_text())


async def test_a_resize_reaches_the_cgroups_of_a_running_container(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            wanted = node_lab.pod("grows", FOREVER, {}, resources=asked(cpu="100m", memory="64Mi"))
            await client.create(wanted)
            pod = await here.until("grows", lambda pod: pod.status.phase == "Running")
            around = f"{here.kubelet.config.cgroup_root}/pod{pod.metadata.uid}"
            own = f"{around}/{container(pod).removeprefix('kybern://')}"
            assert enforced(own) == enforced(around) == (10_000, 64 << 20)
            for cpu, memory, quota, size in (("300m", "128Mi", 30_000, 128), ("50m", "32Mi", 5_000, 32)):
                change = {"cpu": cpu, "memory": memory}
                patch = {
                    "spec": {"containers": [{"name": "main", "resources": {"requests": change, "limits": change}}]}
                }
                await client.patch(Pod, "grows", "default", patch, how="strategic", subresource="resize")
                settled = await here.until("grows", lambda pod, change=change: is_given(pod, change))
                assert container(settled) == container(pod)
                assert enforced(own) == enforced(around) == (quota, size << 20)
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


def container(pod: Pod) -> str:
    (status,) = pod.status.container_statuses or ()
    return status.container_id or ""


def is_given(pod: Pod, amounts: dict[str, str]) -> bool:
    (status,) = pod.status.container_statuses or ()
    going = any(c.type.startswith("PodResize") for c in pod.status.conditions or ())
    return status.resources is not None and status.resources.limits == amounts and not going
