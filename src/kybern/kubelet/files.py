"""The files that a kubelet itself puts next to a pod's volumes: /etc/hosts and termination messages."""

import os
import shutil
from contextlib import suppress

from kybern.volumes.paths import pod_directory, single

MESSAGE_MODE = 0o666  # whoever the container runs as may write its last words


def write_hosts(pods: str, uid: str, content: str) -> str:
    """The path of the file. Written in place where it differs: containers have it mounted."""
    path = f"{pod_directory(pods, uid)}/etc-hosts"
    os.makedirs(os.path.dirname(path), 0o750, exist_ok=True)
    if read_text(path) != content:
        with open(path, "w", encoding="utf-8") as opened:
            opened.write(content)
    os.chmod(path, 0o644)
    return path


def create_message_file(pods: str, uid: str, container: str, attempt: int) -> str:
    directory = f"{pod_directory(pods, uid)}/containers/{single(container)}"
    os.makedirs(directory, 0o750, exist_ok=True)
    path = f"{directory}/{attempt}"
    with open(path, "wb"):
        os.chmod(path, MESSAGE_MODE)
    return path


def replace_file(path: str, content: bytes) -> None:
    """The old content or the new, never a part of it."""
    os.makedirs(os.path.dirname(path), 0o750, exist_ok=True)
    with open(f"{path}.new", "wb") as opened:
        opened.write(content)
    os.replace(f"{path}.new", path)


def read_text(path: str) -> str:
    """Empty where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""


def make_log_directory(path: str) -> None:
    os.makedirs(path, 0o755, exist_ok=True)


def remove_tree(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


def remove_logs(path: str) -> None:
    """A container's log and what was put aside of it."""
    directory, name = os.path.split(path)
    with suppress(OSError):
        for entry in os.listdir(directory):
            if entry == name or entry.startswith(f"{name}."):
                os.unlink(f"{directory}/{entry}")
