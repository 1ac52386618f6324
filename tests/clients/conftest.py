"""A whole cluster of real processes for the tests of this folder, started and stopped as a user would."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from served_api import Served, served_api

from kybern.cmd.config import run_root
from kybern.cmd.running import status

KYBERN = [sys.executable, "-m", "kybern.cmd.main"]
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cluster:
    data_dir: Path
    kubeconfig: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kybern(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run([*KYBERN, *args[:1], "--data-dir", str(self.data_dir), *args[1:]], self.environment, check=check)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return run(["kubectl", *args], self.environment, stdin=stdin, check=check).stdout

    def get(self, *args: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.kubectl("get", *args, "-o", "json"))
        return found

    def succeeded(self, pod: str) -> bool:
        """`kubectl wait` of every version knows conditions only, and that is none."""
        return self.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Succeeded"

    def names(self) -> tuple[str, str]:
        """What everything that belongs to it has in its name or path."""
        ident = json.loads((self.data_dir / "cluster.json").read_text())["id"]
        return str(self.data_dir), ident

    def pod_links(self) -> list[str]:
        """The machine's ends of its pods' links, whose names say nothing of the cluster; its first node's."""
        _, ident = self.names()
        found = run(["ip", "-j", "link", "show", "master", f"kyb-{ident}"], self.environment)
        return [link["ifname"] for link in json.loads(found.stdout or "[]")]

    def supervised(self) -> dict[str, Any]:
        """What its supervisor tells `kybern status`, without a process for the question; its own pid too."""
        _, ident = self.names()
        found = status(run_root() / ident / "supervisor.sock")
        assert found is not None, "it is not up"
        return found

    def processes(self) -> dict[str, int]:
        return {program["name"]: program["pid"] for program in self.supervised()["programs"]}

    def kill(self, program: str) -> None:
        """Once it runs: one that is still to be started again has no process, which is said as 0."""
        pid = 0

        def runs() -> bool:
            nonlocal pid
            pid = self.processes()[program]
            return pid > 0

        until(runs)
        os.kill(pid, signal.SIGKILL)


def run(
    command: list[str],
    environment: dict[str, str],
    *,
    stdin: str | None = None,
    check: bool = True,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, cwd=PROJECT
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Cluster]]:
    made: list[Cluster] = []

    def make() -> Cluster:
        place = tmp_path_factory.mktemp("cluster")
        cluster = Cluster(place / f"data{len(made)}", place / "kubeconfig", free_port())
        made.append(cluster)
        return cluster

    with ExitStack() as resets:  # each is tried, whatever becomes of the others
        yield make
        for cluster in made:
            resets.callback(cluster.kybern, "reset", check=False)


@pytest.fixture(scope="session")
def cluster(make_cluster: Callable[[], Cluster]) -> Cluster:
    """One cluster for all tests that do not break it."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl; install it with: apt-get install -y kubernetes-client")
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "node-1")
    return made


# --- operators --------------------------------------------------------------------------------------------------------

CACHE = Path(sys.prefix) / "cache"
FETCH_SECONDS = 120


@pytest.fixture(scope="session")
def examples() -> Path:
    """kopf's examples lie in its source package only: kept beside the virtual environment, fetched once."""
    pytest.importorskip("kopf")
    release = f"kopf-{version('kopf')}"
    found = CACHE / release / "examples"
    if found.is_dir():
        return found
    CACHE.mkdir(parents=True, exist_ok=True)
    requirement = f"kopf=={version('kopf')}"
    fetch = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", requirement)
    with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
        got = subprocess.run(fetch, cwd=fresh, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        package = Path(fresh, f"{release}.tar.gz")
        if not package.is_file():
            pytest.skip(f"pip download {requirement}: {got.stderr.strip()[-200:]}")
        subprocess.run(["tar", "-xzf", package, "-C", fresh], check=True)
        with suppress(OSError):  # another worker was faster
            Path(fresh, release).rename(CACHE / release)
    return found


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl; install it with: apt-get install -y kubernetes-client")
    async with served_api(tmp_path) as found:
        await found.run("kubectl", "create", "serviceaccount", "default")
        yield found
