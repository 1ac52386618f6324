"""What pods ask of their security, end to end: with real containers, through the API."""

from pathlib import Path
from typing import Any

import pytest
from chroots import needs_user_namespaces

from kybern.api.core_v1 import EmptyDirVolumeSource, PodSecurityContext, Volume
from kybern.client import Client

pytestmark = pytest.mark.linux


@needs_user_namespaces
async def test_each_pod_without_host_users_has_users_of_its_own(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here:
            script = "cat /proc/self/uid_map; id -u; echo x > /mnt/cache/f; stat -c '%u %g' /mnt/cache/f; sleep 1000"
            context = PodSecurityContext(run_as_user=1000, fs_group=2000)
            cache = {"cache": Volume(name="cache", empty_dir=EmptyDirVolumeSource())}
            maps = []
            for name in ("one", "two"):
                made = node_lab.pod(name, script, cache, host_users=False, security_context=context)
                await client.create(made)
                pod = await here.until(name, lambda pod: pod.status.phase == "Running")
                await here.said(pod, "1000 2000")
                first, user, _ = here.log(pod).splitlines()
                assert user == "1000"
                maps.append(first.split())
            assert [entry[::2] for entry in maps] == [["0", "65536"]] * 2
            assert {int(entry[1]) for entry in maps} == {65_536, 131_072}
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)
