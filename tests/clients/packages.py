"""Python's packages of this environment in pods, as an image would have them."""

import subprocess
import sys
import sysconfig
from typing import Any

import pytest

VOLUME: dict[str, Any] = {"name": "packages", "hostPath": {"path": sysconfig.get_path("platlib")}}
MOUNT: dict[str, Any] = {"name": "packages", "mountPath": "/packages", "readOnly": True}
VARIABLES: list[dict[str, str]] = [
    {"name": "PYTHONPATH", "value": "/packages"},
    {"name": "PYTHONUNBUFFERED", "value": "1"},
]


def skip_if_unfit() -> None:
    """Pods run the machine's own Python, which may be another."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=False).stdout
    if not found.startswith(f"Python {wanted}."):
        pytest.skip(f"packages of Python {wanted} are not for the pods' own: {found.strip() or 'there is none'}")
