"""Kubelet, volumes and native runtime together: what real containers find, and that nothing of them is left."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kybern.api.core_v1 import (
    ConfigMap,
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    Pod,
    PodSecurityContext,
    Secret,
    SecretVolumeSource,
    Volume,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client

pytestmark = pytest.mark.linux


async def test_what_a_container_finds_in_its_volumes(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            await client.create(
                ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data={"k": "v", "l": "w"})
            )
            await client.create(Secret(metadata=ObjectMeta(name="s", namespace="default"), string_data={"k": "hidden"}))
            volumes = {
                "c": Volume(name="c", config_map=ConfigMapVolumeSource(name="c")),
                "s": Volume(name="s", secret=SecretVolumeSource(secret_name="s", default_mode=0o400)),
                "m": Volume(name="m", empty_dir=EmptyDirVolumeSource(medium="Memory")),
                "e": Volume(name="e", empty_dir=EmptyDirVolumeSource()),
            }
            script = """
                cat /mnt/c/k /mnt/c-sub /mnt/s/k; echo
                touch /mnt/c/x 2>/dev/null || echo read-only
                stat -f -c %T /mnt/s /mnt/m
                stat -c '%a %g' /mnt/e /mnt/e-sub; echo data > /mnt/e-sub/file; cat /mnt/e/a/b/file
                id -u; head -1 /etc/hosts; hostname
                echo 'last words' > /dev/termination-log; exit 3
            """
            made = node_lab.pod(
                "finds", script, volumes,
                sub_paths={"c": "l", "e": "a/b"},
                restart_policy="Never",
                hostname="h",
                security_context=PodSecurityContext(run_as_user=1000, run_as_group=3000, fs_group=2000),
            )  # fmt: skip
            await client.create(made)
            found = await here.until("finds", lambda p: p.status.phase == "Failed")
            (status,) = found.status.container_statuses or ()
            assert status.state is not None and status.state.terminated is not None
            assert (status.state.terminated.exit_code, status.state.terminated.message) == (3, "last words\n")
            lines = here.log(found).splitlines()
            assert lines[:4] == ["vwhidden", "read-only", "tmpfs", "tmpfs"]
            assert lines[4:6] == ["2777 2000", "2777 2000"]
            assert lines[6:] == ["data", "1000", "# Kubernetes-managed hosts file.", "h"]
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


async def test_a_kubelet_that_starts_anew_finds_its_containers_running(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        volumes = {"m": Volume(name="m", empty_dir=EmptyDirVolumeSource(medium="Memory"))}

        def is_ready(found: Pod) -> bool:
            return any(c.type == "Ready" and c.status == "True" for c in found.status.conditions or ())

        async with node_lab.node(root, client) as here:
            await client.create(node_lab.pod("stays", "echo here > /mnt/m/file; sleep 1000", volumes))
            before = await here.until("stays", is_ready)
        async with node_lab.node(root, client) as here:
            await asyncio.sleep(0.5)
            after = await client.get(Pod, "stays", "default")
            assert after.status.container_statuses == before.status.container_statuses
            (running_one,) = here.kubelet.parts.pleg.of(before.metadata.uid or "").containers
            kept = await here.kubelet.parts.runtime.exec_sync(running_one.id, ["cat", "/mnt/m/file"], 5.0)
            assert kept.stdout == b"here\n"
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)
