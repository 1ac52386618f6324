"""kubeconfig files: which cluster, as whom; read as kubectl reads them, and changed one context at a time.

- Several files are one: of two entries with the same name the first file's counts. A file named in an entry is
  found beside the file that names it.
- A change touches the entries of its own name only, in one file, which is replaced whole and stays readable by its
  owner only. Entries and fields that we do not know stay as they are.
"""

import base64
import binascii
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kybern.api import yaml, yaml_text
from kybern.web.private_file import write_private

LOCK_SECONDS = 5.0
SECTIONS = ("clusters", "users", "contexts")
EMPTY: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": ""}


class KubeconfigError(Exception):
    """The file, or what it says, is of no use; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a client needs to know; certificates and keys are PEM."""

    name: str
    server: str
    namespace: str = "default"
    ca: bytes | None = None
    verify: bool = True
    tls_server_name: str = ""
    certificate: bytes | None = None
    key: bytes | None = None
    token: str = ""
    username: str = ""
    password: str = ""


def default_paths() -> list[Path]:
    """The files of KUBECONFIG, else ~/.kube/config."""
    named = [Path(path) for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    return named or [Path.home() / ".kube" / "config"]


def read(path: Path) -> dict[str, Any]:
    """One file; one that does not exist is empty."""
    try:
        config = yaml.parse(path.read_bytes())[0]
    except FileNotFoundError:
        config = None
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    except yaml.NotYaml as error:
        raise KubeconfigError(f"{path}: {error}") from error
    if config is None:
        return dict(EMPTY)
    if not isinstance(config, dict) or not all(isinstance(config.get(section) or [], list) for section in SECTIONS):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    return config


def load(name: str = "", paths: Iterable[Path] | None = None) -> Context:
    """The context called `name`, or the current one."""
    files = [(path, read(path)) for path in (default_paths() if paths is None else paths)]
    current = name or next((str(config["current-context"]) for _, config in files if config.get("current-context")), "")
    if not current:
        raise KubeconfigError("no current context in the kubeconfig; name one with --context")
    context, _ = entry(files, "contexts", current)
    cluster, cluster_home = entry(files, "clusters", str(context.get("cluster", "")))
    user, user_home = entry(files, "users", str(context["user"])) if context.get("user") else ({}, Path())
    if not cluster.get("server"):
        raise KubeconfigError(f"context {current!r} names no server")
    if "exec" in user or "auth-provider" in user:
        raise KubeconfigError(f"context {current!r} asks a plugin for its credentials, which is not supported here")
    return Context(
        name=current,
        server=str(cluster["server"]),
        namespace=str(context.get("namespace") or "default"),
        ca=content(cluster, "certificate-authority", cluster_home),
        verify=not cluster.get("insecure-skip-tls-verify"),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        certificate=content(user, "client-certificate", user_home),
        key=content(user, "client-key", user_home),
        token=token_of(user, user_home),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
    )


def entry(files: list[tuple[Path, dict[str, Any]]], section: str, name: str) -> tuple[dict[str, Any], Path]:
    """What the first file that has it says under this name, and the directory of that file."""
    for path, config in files:
        for item in config.get(section) or []:
            if isinstance(item, dict) and item.get("name") == name:
                found = item.get(section[:-1])
                return (found if isinstance(found, dict) else {}), path.parent
    raise KubeconfigError(f"the kubeconfig has no {section[:-1]} {name!r}")


def content(item: dict[str, Any], field: str, home: Path) -> bytes | None:
    """`field-data` decoded, or what is in the file that `field` names."""
    if item.get(f"{field}-data"):
        try:
            return base64.b64decode(str(item[f"{field}-data"]), validate=True)
        except binascii.Error as error:
            raise KubeconfigError(f"{field}-data is not base64") from error
    return file_content(home / str(item[field])) if item.get(field) else None


def token_of(user: dict[str, Any], home: Path) -> str:
    """The token file counts over the token, because it may have been renewed."""
    if user.get("tokenFile"):
        return file_content(home / str(user["tokenFile"])).decode().strip()
    return str(user.get("token") or "")


def file_content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error


def merge_context(path: Path, name: str, *, server: str, ca: bytes, certificate: bytes, key: bytes) -> None:
    """Adds or renews the cluster, user and context called `name`. A new context becomes the current one."""
    with locked(path):
        config = read(path)
        is_new = all(item.get("name") != name for item in config.get("contexts") or [])
        put(config, "clusters", name, {"server": server, "certificate-authority-data": text(ca)})
        put(config, "users", name, {"client-certificate-data": text(certificate), "client-key-data": text(key)})
        if is_new:
            put(config, "contexts", name, {"cluster": name, "user": name})
        if is_new or not config.get("current-context"):
            config["current-context"] = name
        write(path, config)


def remove_context(path: Path, name: str) -> None:
    """Removes the cluster, user and context called `name`, if they are there."""
    if not path.exists():
        return
    with locked(path):
        config = read(path)
        for section in SECTIONS:
            config[section] = [item for item in config.get(section) or [] if item.get("name") != name]
        if config.get("current-context") == name:
            config["current-context"] = ""
        write(path, config)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As kubectl does it: whoever made the file beside it is the one to change it (client-go's clientcmd)."""
    lock = path.with_name(f"{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KubeconfigError(
                    f"{lock} is there: a program changes the kubeconfig, or was killed while it did (then remove it)"
                ) from None
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def put(config: dict[str, Any], section: str, name: str, value: dict[str, Any]) -> None:
    items = [item for item in config.get(section) or [] if item.get("name") != name]
    config[section] = [*items, {"name": name, section[:-1]: value}]


def text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def write(path: Path, config: dict[str, Any]) -> None:
    write_private(path.resolve(), yaml_text.dump(config).encode())  # resolved: a link stays a link
