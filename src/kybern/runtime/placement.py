"""Where a container is put: the sandbox, namespaces, directories and devices that its spec is written around."""

from dataclasses import dataclass

from kybern.runtime import spec as oci
from kybern.runtime.containers import ContainerRecords
from kybern.runtime.cri import ContainerConfig, NamespaceMode, RuntimeFault
from kybern.runtime.images.image import ReadyImage
from kybern.runtime.images.store import ImageStore
from kybern.runtime.machine import host_devices, localhost_profile, look_like
from kybern.runtime.sandboxes import Sandboxes, SandboxRecord


@dataclass(frozen=True, slots=True)
class Placement:
    sandboxes: Sandboxes
    records: ContainerRecords
    images: ImageStore
    available: frozenset[str]
    """The capabilities that this machine can give at all."""

    def of(
        self, identifier: str, sandbox: SandboxRecord, config: ContainerConfig, image: ReadyImage
    ) -> oci.Surroundings:
        parent = sandbox.config.cgroup_parent or "/kybern"
        return oci.Surroundings(
            sandbox=sandbox.config,
            cgroup=f"{parent.rstrip('/')}/{identifier}",
            network_path=self.sandboxes.path(sandbox, "network"),
            ipc_path=self.sandboxes.path(sandbox, "ipc"),
            uts_path=self.sandboxes.path(sandbox, "uts"),
            pid_path=self._pid_path(sandbox, config),
            shm_path=self.sandboxes.shm_path(sandbox),
            resolv_conf=self.sandboxes.resolv_conf_path(sandbox),
            capabilities=self.available,
            host_devices=host_devices(config),
            volume_mounts=tuple(self._volumes(identifier, image)) if config.security.readonly_rootfs else (),
            image_mounts={mount.image: self._image_layers(mount.image) for mount in config.mounts if mount.image},
            user_path=self.sandboxes.path(sandbox, "user"),
            seccomp=localhost_profile(config),
        )

    def _pid_path(self, sandbox: SandboxRecord, config: ContainerConfig) -> str:
        options = config.security.namespaces
        if options.pid == NamespaceMode.POD and sandbox.holder_pid:
            return f"/proc/{sandbox.holder_pid}/ns/pid"
        if options.pid == NamespaceMode.TARGET:
            state = self.records.states.get(options.target_id, {})
            if state.get("status") != "running":
                raise RuntimeFault("CreateContainerError", f"target container {options.target_id!r} is not running")
            return f"/proc/{state['pid']}/ns/pid"
        return ""

    def _volumes(self, identifier: str, image: ReadyImage) -> list[tuple[str, str]]:
        """A VOLUME of an image lies in the container's writable layer, with what the image has there. Only under a
        read-only root it needs a directory of its own, which looks as in the image."""
        found = []
        for number, path in enumerate(image.defaults.volumes):
            directory = self.records.path(identifier) / "volumes" / str(number)
            directory.mkdir(parents=True, exist_ok=True)
            look_like(directory, path, image.layers)
            found.append((str(directory), path))
        return found

    def _image_layers(self, identifier: str) -> oci.ImageLayers:
        image = self.images.get(identifier)
        if image is None or not image.layers:
            raise RuntimeFault("CreateContainerError", f"image {identifier!r} cannot be mounted as a volume")
        return oci.ImageLayers(image.layers, image.hidden)
