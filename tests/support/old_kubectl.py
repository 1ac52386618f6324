"""kubectl 1.20, out of Debian's package: kept beside the virtual environment, so that it is fetched once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(sys.prefix) / "cache" / "kubectl-1.20"
PACKAGE = "kubernetes-client"
FETCH_SECONDS = 60


def fetched() -> Path:
    """The program, from the cache or out of Debian's package. Skips where this machine cannot get it."""
    program = CACHE / "root" / "usr" / "bin" / "kubectl"
    if program.exists():
        return program
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("kubectl 1.20 comes in a Debian package, and this machine has no apt-get")
    CACHE.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(
        ["apt-get", "download", PACKAGE], cwd=CACHE, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
    )
    packages = sorted(CACHE.glob(f"{PACKAGE}_*.deb"))
    if got.returncode != 0 or not packages:
        pytest.skip(f"apt-get download {PACKAGE}: {got.stderr.strip()[-200:]}")
    subprocess.run(["dpkg", "-x", packages[-1], CACHE / "root"], check=True, timeout=FETCH_SECONDS)
    if not program.exists():
        pytest.skip(f"{packages[-1].name} holds no kubectl")
    return program
