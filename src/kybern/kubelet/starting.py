"""Starting: a pod's sandbox, and its containers one by one.

A step that fails raises `NotStarted` with what the pod then shows; nothing half-made is left in the runtime.
"""

from kybern.api.core_v1 import (
    ConfigMap,
    Container,
    EphemeralContainer,
    ImageVolumeSource,
    Pod,
    Secret,
    Service,
    Volume,
    VolumeMount,
)
from kybern.api.errors import ApiError
from kybern.api.node_v1 import RuntimeClass
from kybern.kubelet.containers import (
    HOSTS,
    AnyContainer,
    Prepared,
    container_config,
    field_path,
    find,
    mounts_own_hosts,
    sub_path_of,
    volume_mount,
)
from kybern.kubelet.credentials import Login, credentials_for
from kybern.kubelet.devices.gate import DeviceFault
from kybern.kubelet.env import References, environment, referenced
from kybern.kubelet.env_files import ConfigFault, read_file, wanted_files
from kybern.kubelet.files import create_message_file, make_log_directory, write_hosts
from kybern.kubelet.hooks import HookFailed, run_hook
from kybern.kubelet.images import NotYet
from kybern.kubelet.memory import Waiting
from kybern.kubelet.memory_protection import of_container
from kybern.kubelet.mounting import facts_of
from kybern.kubelet.names import hosts_file, omitted, wanted_dns
from kybern.kubelet.observed import Observed, ip_of, restart_count
from kybern.kubelet.parts import Parts
from kybern.kubelet.plan import KillContainer
from kybern.kubelet.qos_cgroups import limits_of_pod, node_memory
from kybern.kubelet.resources import pod_cgroup
from kybern.kubelet.sandbox_config import log_directory, sandbox_config
from kybern.kubelet.service_env import service_variables
from kybern.kubelet.stopping import Stopping
from kybern.kubelet.user_namespaces import NoIds, UserNamespaces
from kybern.runtime import cri
from kybern.runtime.cri import ContainerState, Image, RuntimeFault
from kybern.volumes.paths import CONTENT, source_of
from kybern.volumes.payload import VolumeFault

RETRY_SECONDS = 10.0
SHOWN_SECONDS = 1.0  # how long an error is shown, at the least, before the next attempt


class NotStarted(Exception):
    """The container was not started; `waiting` is None while its image is being pulled."""

    def __init__(self, waiting: Waiting | None) -> None:
        super().__init__(waiting.message if waiting else "")
        self.waiting = waiting


class SandboxFailed(Exception):
    """The message is what the event says."""

    def __init__(self, message: str, reason: str = "FailedCreatePodSandBox") -> None:
        super().__init__(message)
        self.reason = reason


class Starting:
    def __init__(self, parts: Parts, stopping: Stopping) -> None:
        self.parts, self.stopping = parts, stopping
        self.user_namespaces = UserNamespaces(parts.config.pods_directory, parts.config.pods_max)

    async def create_sandbox(self, pod: Pod, attempt: int) -> str:
        parts, config = self.parts, self.parts.config
        await self._refuse_without_network(pod)
        self._make_room(pod)
        try:
            handler = await self._runtime_handler(pod)
            ids = self.user_namespaces.of(pod)
            wanted = sandbox_config(pod, attempt, config, parts.node.dns, handler, ids)
            for text in omitted(wanted_dns(pod, config.cluster_dns, config.cluster_domain, parts.node.dns)):
                parts.recorder.event(pod, "Warning", "DNSConfigForming", text)
            made = await parts.runtime.run_pod_sandbox(wanted)
        except (RuntimeFault, ApiError, OSError, ValueError, NoIds) as error:
            raise SandboxFailed(f"Failed to create pod sandbox: {error}") from error
        try:
            await parts.pleg.note_sandboxes()
        except RuntimeFault as error:
            raise SandboxFailed(f"Unable to get pod sandbox status: {error}", "FailedPodSandBoxStatus") from error
        return made

    async def _refuse_without_network(self, pod: Pod) -> None:
        """Only the node's own network is there from the beginning."""
        fault = "" if pod.spec.host_network else await self.parts.runtime.network_fault()
        if fault:
            text = f"network is not ready: container runtime network not ready: {fault}"
            raise SandboxFailed(text, "NetworkNotReady")

    def _make_room(self, pod: Pod) -> None:
        """Its cgroup, and where its containers' logs will be."""
        parts, config = self.parts, self.parts.config
        try:
            parts.cgroups.ensure(pod_cgroup(pod, config.cgroup_root), limits_of_pod(parts, pod))
        except OSError as error:
            text = f"unable to ensure pod container exists: {error}"
            raise SandboxFailed(text, "FailedCreatePodContainer") from error
        try:
            if parts.node.on_disk:
                make_log_directory(log_directory(pod, config.logs_directory))
        except OSError as error:
            raise SandboxFailed(f"error making pod data directories: {error}", "Failed") from error

    async def _runtime_handler(self, pod: Pod) -> str:
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        found = await self.parts.objects.get(RuntimeClass, "", name)
        if found is None:
            raise SandboxFailed(f'Failed to create pod sandbox: RuntimeClass "{name}" not found')
        return found.handler

    async def start(self, pod: Pod, name: str, observed: Observed, not_before: float) -> None:
        """Image, configuration, container, process, postStart. What it refers to is not read from before then."""
        container = find(pod, name)
        sandbox = observed.ready_sandbox
        if container is None or sandbox is None:
            return
        image = await self._image(pod, container)
        await self._discard_unstarted(observed, name)
        attempt = attempt_of(pod, observed, name)
        try:
            wanted = await self._config(pod, container, observed, attempt, image, not_before)
        except (ConfigFault, VolumeFault, DeviceFault, ApiError, OSError, ValueError) as error:
            raise self._failed(pod, name, "CreateContainerConfigError", str(error)) from error
        made = await self._create(pod, name, sandbox.id, wanted)
        await self._start(pod, name, made)
        await self._post_start(pod, container, made, ip_of(pod, observed, self.parts.config.node_ips))

    async def _image(self, pod: Pod, container: AnyContainer) -> Image:
        try:
            logins = await self._logins(pod, container.image or "")
            return await self.parts.images.ensure(pod, container, logins)
        except NotYet as not_yet:
            raise NotStarted(not_yet.waiting) from not_yet

    async def _logins(self, pod: Pod, image: str) -> list[Login]:
        """Of the secrets that there are: the pull is tried without the others."""
        secrets: dict[str, Secret | None] = {}
        for reference in pod.spec.image_pull_secrets or ():
            name = reference.name or ""
            try:
                secrets[name] = await self.parts.objects.get(Secret, pod.metadata.namespace or "", name)
            except ApiError:
                secrets[name] = None
        missing = ", ".join(name for name, found in secrets.items() if found is None)
        if missing:
            text = (
                f"Unable to retrieve some image pull secrets ({missing}); attempting to pull the image may not succeed."
            )
            self.parts.recorder.event(pod, "Warning", "FailedToRetrieveImagePullSecret", text)
        return credentials_for(image, [found for found in secrets.values() if found is not None])

    async def _discard_unstarted(self, observed: Observed, name: str) -> None:
        """A container that was made but not started before this kubelet was."""
        known = observed.latest(name)
        if known is not None and known.state is ContainerState.CREATED:
            await self.parts.runtime.remove_container(known.id)
            await self.parts.pleg.note(known.id)

    async def _config(
        self, pod: Pod, container: AnyContainer, observed: Observed, attempt: int, image: Image, not_before: float
    ) -> cri.ContainerConfig:
        parts, config = self.parts, self.parts.config
        variables = await self._environment(pod, container, observed, not_before)
        uid = pod.metadata.uid or ""
        message_file = ""
        if container.termination_message_path and parts.node.on_disk:
            message_file = create_message_file(config.pods_directory, uid, container.name, attempt)
        prepared = Prepared(
            attempt=attempt,
            image=image,
            environment=variables,
            mounts=(*await self._mounts(pod, container, variables), *self._hosts(pod, container, observed)),
            message_file=message_file,
            target_id=_target(container, observed),
            memory_capacity_bytes=parts.node.memory_bytes,
            page_sizes=parts.node.page_sizes,
            seccomp_directory=config.seccomp_directory,
            cpus=parts.cpus.of(uid, container.name),
            memory_nodes=parts.memory.of(uid, container.name),
            memory_files=of_container(config.protection, node_memory(parts), pod, container),
            cdi_devices=parts.claims.of(uid, container),
            gift=await parts.gate.gift(uid, container.name),
        )
        return container_config(pod, container, prepared)

    async def _environment(
        self, pod: Pod, container: AnyContainer, observed: Observed, not_before: float
    ) -> dict[str, str]:
        namespace = pod.metadata.namespace or ""
        config_maps, secrets = referenced(container)
        get = self.parts.objects.get
        found_maps = {name: await get(ConfigMap, namespace, name, not_before) for name in sorted(config_maps)}
        found_secrets = {name: await get(Secret, namespace, name, not_before) for name in sorted(secrets)}
        references = References(
            {name: found for name, found in found_maps.items() if found is not None},
            {name: found for name, found in found_secrets.items() if found is not None},
            self._env_files(pod, container),
        )
        links = pod.spec.enable_service_links is not False
        services = service_variables(self.parts.view.list(Service), namespace, links)
        return environment(pod, container, references, facts_of(self.parts, pod, observed), services)

    def _env_files(self, pod: Pod, container: AnyContainer) -> dict[tuple[str, str], str]:
        """Only of volumes that the pod itself writes: others would show it files of the node."""
        found = {}
        own = {volume.name for volume in pod.spec.volumes or () if volume.empty_dir is not None}
        for file in wanted_files(container):
            if file.volume_name not in own:
                raise ConfigFault(f"cannot find the emptyDir volume referenced by FileKeyRef: {file.volume_name}")
            text = read_file(self.parts.volumes.host_path(pod, file.volume_name), file.path)
            if text is not None:
                found[file.volume_name, file.path] = text
        return found

    async def _mounts(self, pod: Pod, container: AnyContainer, variables: dict[str, str]) -> list[cri.Mount]:
        found = {volume.name: volume for volume in pod.spec.volumes or ()}
        mounts: list[cri.Mount] = []
        for index, mount in enumerate(container.volume_mounts or ()):
            volume = found.get(mount.name, Volume())
            if volume.image is not None:
                image = await self._volume_image(pod, volume.name, volume.image)
                path = sub_path_of(mount, variables)
                mounts.append(
                    cri.Mount(container_path=mount.mount_path, image=image.id, image_sub_path=path, readonly=True)
                )
            else:
                host_path = self._host_path(pod, container, index, mount, variables)
                mounts.append(volume_mount(mount, host_path, must_be_readonly=source_of(volume) in CONTENT))
        return mounts

    def _host_path(
        self, pod: Pod, container: AnyContainer, index: int, mount: VolumeMount, variables: dict[str, str]
    ) -> str:
        volumes = self.parts.volumes
        path = sub_path_of(mount, variables)
        if path:
            return volumes.sub_path(pod, mount.name, container.name, index, path)
        return volumes.host_path(pod, mount.name)

    async def _volume_image(self, pod: Pod, name: str, source: ImageVolumeSource) -> Image:
        """Pulled like the image of a container of the volume's name."""
        policy = source.pull_policy
        return await self._image(
            pod, Container(name=f"volume {name}", image=source.reference, image_pull_policy=policy)
        )

    def _hosts(self, pod: Pod, container: AnyContainer, observed: Observed) -> tuple[cri.Mount, ...]:
        """The managed /etc/hosts, unless the container brings its own."""
        parts = self.parts
        if mounts_own_hosts(container) or not parts.node.on_disk:
            return ()
        content = hosts_file(pod, observed.ips, parts.config.cluster_domain, parts.node.hosts)
        path = write_hosts(parts.config.pods_directory, pod.metadata.uid or "", content)
        return (cri.Mount(container_path=HOSTS, host_path=path),)

    async def _create(self, pod: Pod, name: str, sandbox_id: str, wanted: cri.ContainerConfig) -> str:
        try:
            made = await self.parts.runtime.create_container(sandbox_id, wanted)
        except (RuntimeFault, OSError) as error:
            raise self._failed(pod, name, "CreateContainerError", str(error)) from error
        self._tell(pod, name, "Normal", "Created", "Container created")
        return made

    async def _start(self, pod: Pod, name: str, container_id: str) -> None:
        try:
            await self.parts.runtime.start_container(container_id)
        except (RuntimeFault, OSError) as error:
            await self.parts.pleg.note(container_id)
            counted = self._has_ended(pod, container_id)  # then the crash back-off says when to try again
            retry = SHOWN_SECONDS if counted else RETRY_SECONDS
            raise self._failed(pod, name, "RunContainerError", str(error), retry) from error
        await self.parts.pleg.note(container_id)
        self._tell(pod, name, "Normal", "Started", "Container started")

    def _has_ended(self, pod: Pod, container_id: str) -> bool:
        known = self.parts.pleg.of(pod.metadata.uid or "").containers
        return any(status.id == container_id and status.state is ContainerState.EXITED for status in known)

    async def _post_start(self, pod: Pod, container: AnyContainer, container_id: str, pod_ip: str) -> None:
        hook = container.lifecycle.post_start if container.lifecycle else None
        if hook is None:
            return
        parts = self.parts
        try:
            await run_hook(
                hook, parts.runtime, parts.clock, container, container_id, pod_ip, reachable=parts.node.pods_reachable
            )
        except HookFailed as failed:
            self._tell(pod, container.name, "Warning", "FailedPostStartHook", "PostStartHook failed")
            killed = KillContainer(container_id, container.name, "FailedPostStartHook", "hook")
            await self.stopping.kill(pod, parts.pleg.of(pod.metadata.uid or ""), killed)
            raise NotStarted(Waiting("PostStartHookError", str(failed))) from failed

    def _failed(self, pod: Pod, name: str, reason: str, message: str, retry: float = RETRY_SECONDS) -> NotStarted:
        self._tell(pod, name, "Warning", "Failed", f"Error: {message}")
        return NotStarted(Waiting(reason, message, self.parts.clock.monotonic() + retry))

    def _tell(self, pod: Pod, name: str, kind: str, reason: str, text: str) -> None:
        self.parts.recorder.event(pod, kind, reason, text, field_path=field_path(pod, name))


def attempt_of(pod: Pod, observed: Observed, name: str) -> int:
    """One more than the last; the API remembers where the runtime was lost."""
    known = observed.latest(name)
    if known is not None:
        return restart_count(known) + (known.state is not ContainerState.CREATED)
    groups = (pod.status.container_statuses, pod.status.init_container_statuses)
    told = next((s for group in groups for s in group or () if s.name == name), None)
    return told.restart_count + 1 if told is not None and told.container_id else 0


def _target(container: AnyContainer, observed: Observed) -> str:
    """The container whose processes an ephemeral one shall see."""
    name = container.target_container_name if isinstance(container, EphemeralContainer) else None
    known = observed.latest(name) if name else None
    return known.id if known else ""
