"""What a RUN is shown besides its layers and what is copied for it: caches, secrets, agents and places that are gone afterwards."""

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.build.mounts import StepMount
from kybern.runtime.build.work import BuildOrder
from kybern.runtime.build.workshop import Bench
from kybern.runtime.cri import Mount

SECRET_BYTES_MAX = 500 << 10  # BuildKit's limit


@dataclass(frozen=True, slots=True)
class Shown:
    mount: Mount | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


NOTHING = Shown()


class Shows:
    def __init__(self, directory: Path) -> None:
        """`directory` holds the caches, each by what it is called."""
        self.directory = directory
        self.locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def shown(self, mount: StepMount, order: BuildOrder, bench: Bench) -> AsyncIterator[Shown]:
        match mount.kind:
            case "cache":
                name = hashlib.sha256(mount.identifier.encode()).hexdigest()
                async with self.locks.setdefault(name, asyncio.Lock()):
                    yield Shown(_directory(self.directory / name, mount))
            case "tmpfs":
                yield Shown(
                    _directory(bench.path / f"tmp-{hashlib.sha256(mount.target.encode()).hexdigest()[:16]}", mount)
                )
            case "secret":
                yield _secret(mount, order.secrets, bench)
            case "ssh":
                yield _agent(mount, order.agents)
            case _:
                yield NOTHING


def _directory(path: Path, mount: StepMount) -> Mount:
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(mount.mode)
        _give(path, mount)
    return Mount(container_path=mount.target, host_path=str(path), readonly=mount.readonly)


def _secret(mount: StepMount, secrets: Mapping[str, str], bench: Bench) -> Shown:
    given = secrets.get(mount.identifier)
    if given is None:
        if mount.required:
            raise DockerfileError(f"secret {mount.identifier}: not found")
        return NOTHING
    with open(given, "rb") as opened:
        content = opened.read(SECRET_BYTES_MAX + 1)
    if len(content) > SECRET_BYTES_MAX:
        raise DockerfileError(f"secret {mount.identifier} is larger than {SECRET_BYTES_MAX} bytes")
    variables = {mount.variable: content.decode("utf-8", "surrogateescape")} if mount.variable else {}
    if not mount.target:
        return Shown(None, variables)
    path = bench.path / f"secret-{hashlib.sha256(mount.target.encode()).hexdigest()[:16]}"
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mount.mode)
    _give(path, mount)
    return Shown(Mount(container_path=mount.target, host_path=str(path), readonly=True), variables)


def _agent(mount: StepMount, agents: Mapping[str, str]) -> Shown:
    """The socket of an SSH agent: keys stay where they are, and only what runs as root may ask for signatures."""
    path = agents.get(mount.identifier)
    if path is None:
        if mount.required:
            raise DockerfileError(f"unset ssh forward key {mount.identifier}")
        return NOTHING
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise DockerfileError(f"ssh forward key {mount.identifier}: {path} is no socket of an SSH agent")
    shown = Mount(container_path=mount.target, host_path=path, readonly=True)
    return Shown(shown, {"SSH_AUTH_SOCK": mount.target})


def _give(path: Path, mount: StepMount) -> None:
    os.chown(path, mount.uid, mount.gid)
