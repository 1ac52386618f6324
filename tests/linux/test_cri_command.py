"""`kybern cri`, the command: another process' kubelet drives it, its service may be killed, and TERM leaves nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from warden_process import inventory

from kybern.aio.clock import SystemClock
from kybern.cmd import config, running
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    ContainerState,
    PodSandboxConfig,
    RuntimeFault,
    SandboxMetadata,
)
from kybern.runtime.remote.runtime import RemoteRuntime

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(
        not os.access("/usr/lib/cni/loopback", os.X_OK), reason="apt-get install containernetworking-plugins"
    ),
]
CGROUP = f"/kybern-test-cri-{os.getpid()}"


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    (tmp_path / "net.d").mkdir()
    plugins = {"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}
    (tmp_path / "net.d" / "10-lo.conflist").write_text(json.dumps(plugins))
    where = [
        "--socket",
        f"{tmp_path}/cri.sock",
        "--data-dir",
        f"{tmp_path}/data",
        "--cni-conf-dir",
        f"{tmp_path}/net.d",
    ]
    process = subprocess.Popen([sys.executable, "-m", "kybern.cmd.main", "cri", *where])
    yield process
    process.terminate()
    process.wait(30)


async def test_it_serves_until_it_is_told_to_stop(command: subprocess.Popen[bytes], tmp_path: Path) -> None:
    runtime = RemoteRuntime(f"unix://{tmp_path}/cri.sock", tmp_path / "state", owner="t", clock=SystemClock())
    async with asyncio.timeout(30):
        await runtime.open()
        assert await runtime.version() == ("kybern", "0.1.0")
        while await runtime.network_fault():
            await asyncio.sleep(0.05)
        image = await runtime.pull_image("kybern.local/host")
        sandbox = await runtime.run_pod_sandbox(
            PodSandboxConfig(
                metadata=SandboxMetadata(name="p", namespace="d", uid="u"),
                log_directory=f"{tmp_path}/logs",
                cgroup_parent=CGROUP,
            )
        )
        container = await runtime.create_container(
            sandbox, ContainerConfig(metadata=ContainerMetadata(name="c"), image=image, command=("sleep", "1000"))
        )
        await runtime.start_container(container)
        ident = config.cluster_id(tmp_path / "data")
        programs = running.status(config.run_root() / f"cri-{ident}" / "supervisor.sock")
        assert programs is not None
        os.kill(next(each["pid"] for each in programs["programs"] if each["name"] == "cri"), signal.SIGKILL)
        result = None
        while result is None:  # until its successor answers
            try:
                result = await runtime.exec_sync(container, ["echo", "still here"], 5)
            except RuntimeFault:
                await asyncio.sleep(0.1)
        assert result.stdout == b"still here\n"
        assert (await runtime.container_status(container)).state is ContainerState.RUNNING
    await runtime.close()
    command.terminate()
    assert await asyncio.to_thread(command.wait, 30) == 0
    assert not os.path.exists(f"{tmp_path}/cri.sock")
    assert inventory(tmp_path, CGROUP)[:2] == ([], [])
