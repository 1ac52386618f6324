"""The configurations of sandboxes, kept on disk: CRI wants them again with each container, and no runtime gives them back.

One is written before its sandbox is asked for, under what CRI tells sandboxes apart by, so that none is ever lost.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from kybern.runtime import disk
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata


class KnownSandboxes:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configs: dict[SandboxMetadata, PodSandboxConfig] = {}

    def load(self) -> None:
        for name in disk.names(self.directory):
            config = disk.load(self.directory / name, PodSandboxConfig)
            if config is not None:
                self.configs[config.metadata] = config

    def add(self, config: PodSandboxConfig) -> None:
        disk.save(self._path(config.metadata), config)
        self.configs[config.metadata] = config

    def get(self, metadata: SandboxMetadata) -> PodSandboxConfig | None:
        return self.configs.get(metadata)

    def of_pod(self, namespace: str, name: str) -> PodSandboxConfig | None:
        """Of its newest sandbox: a pod is asked for one at a time."""
        found = [each for each in self.configs if (each.namespace, each.name) == (namespace, name)]
        return self.configs[found[-1]] if found else None

    def forget(self, metadata: SandboxMetadata) -> None:
        if self.configs.pop(metadata, None) is not None:
            self._path(metadata).unlink(missing_ok=True)

    def keep_only(self, metadata: Iterable[SandboxMetadata]) -> None:
        for each in self.configs.keys() - set(metadata):
            self.forget(each)

    def _path(self, metadata: SandboxMetadata) -> Path:
        told = "/".join((metadata.namespace, metadata.name, metadata.uid, str(metadata.attempt)))
        return self.directory / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
