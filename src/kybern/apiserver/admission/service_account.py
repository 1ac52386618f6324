"""ServiceAccount: every pod runs as a service account that exists, with a short-lived token mounted unless told not to."""

from msgspec.structs import replace

from kybern.api.core_v1 import (
    ConfigMapProjection,
    Container,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    Pod,
    ProjectedVolumeSource,
    ServiceAccount,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.auth.references import names_in
from kybern.apiserver.request import Admission

DEFAULT_NAME = "default"
MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607  # upstream's figure: recognisable, and an hour
MOUNTABLE_ONLY = "kubernetes.io/enforce-mountable-secrets"
WAITS = 50  # a new namespace's default account is made a moment after it
WAIT_SECONDS = 0.02


class ServiceAccountAdmission(Plugin):
    name = "ServiceAccount"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod, "CREATE"):
            return
        pod: Pod = admission.object
        if MIRROR in (pod.metadata.annotations or {}):
            refuse_mirror_with_secrets(admission, pod)
            return
        name = pod.spec.service_account_name or DEFAULT_NAME
        pod = replace(pod, spec=replace(pod.spec, service_account_name=name, service_account=name))
        account = await self.account(admission, name)
        if mounts_token(pod, account):
            pod = with_token_mounted(pod, VOLUME_PREFIX + self.inputs.ids.suffix())
        if not pod.spec.image_pull_secrets and account.image_pull_secrets:
            pod = replace(pod, spec=replace(pod.spec, image_pull_secrets=account.image_pull_secrets))
        admission.object = pod

    async def validate(self, admission: Admission) -> None:
        later = admission.resource.kind.type is Pod and admission.subresource == "ephemeralcontainers"
        if not later and not is_write_of(admission, Pod, "CREATE"):
            return
        if admission.object is None or MIRROR in (admission.object.metadata.annotations or {}):
            return
        name = admission.object.spec.service_account_name or ""
        account = self.objects.get(ServiceAccount, name, admission.namespace)
        if account is None:
            raise no_account(admission, name)
        if (account.metadata.annotations or {}).get(MOUNTABLE_ONLY) == "true":
            refuse_other_secrets(admission, account)

    async def account(self, admission: Admission, name: str) -> ServiceAccount:
        for _ in range(WAITS if name == DEFAULT_NAME else 1):
            account = self.objects.get(ServiceAccount, name, admission.namespace)
            if account is not None:
                return account
            if name == DEFAULT_NAME:
                await self.inputs.clock.sleep(WAIT_SECONDS)
        raise no_account(admission, name)


def no_account(admission: Admission, name: str) -> Exception:
    return refused(
        admission,
        f'error looking up service account {admission.namespace}/{name}: serviceaccount "{name}" not found',
    )


def refuse_mirror_with_secrets(admission: Admission, pod: Pod) -> None:
    if pod.spec.service_account_name:
        raise refused(admission, "a mirror pod may not reference service accounts")
    if any(plural == "secrets" and name for plural, name in names_in(pod.spec)):
        raise refused(admission, "a mirror pod may not reference secrets")
    for volume in pod.spec.volumes or ():
        for source in (volume.projected.sources if volume.projected else None) or ():
            if source.service_account_token is not None:
                raise refused(admission, "a mirror pod may not use ServiceAccountToken volume projections")


def refuse_other_secrets(admission: Admission, account: ServiceAccount) -> None:
    """An account may list the only secrets that its pods may use."""
    allowed = {reference.name for reference in account.secrets or ()}
    pulls = {reference.name for reference in account.image_pull_secrets or ()}
    for plural, name in names_in(admission.object.spec):
        if plural == "secrets" and name and name not in allowed | pulls:
            raise refused(
                admission,
                f'secret "{name}" is not allowed because service account {account.metadata.name} does not reference '
                "that secret",
            )


def mounts_token(pod: Pod, account: ServiceAccount) -> bool:
    """The pod decides, else its account; else yes."""
    for asked in (pod.spec.automount_service_account_token, account.automount_service_account_token):
        if asked is not None:
            return asked
    return True


def with_token_mounted(pod: Pod, volume_name: str) -> Pod:
    """Into every container that mounts nothing there itself."""
    mount = VolumeMount(name=volume_name, mount_path=MOUNT_PATH, read_only=True)
    containers = tuple(with_mount(container, mount) for container in pod.spec.containers)
    init = tuple(with_mount(container, mount) for container in pod.spec.init_containers or ())
    if containers == pod.spec.containers and init == (pod.spec.init_containers or ()):
        return pod
    volumes = (*(pod.spec.volumes or ()), token_volume(volume_name))
    return replace(pod, spec=replace(pod.spec, containers=containers, init_containers=init or None, volumes=volumes))


def with_mount(container: Container, mount: VolumeMount) -> Container:
    mounts = container.volume_mounts or ()
    if any(known.mount_path == MOUNT_PATH for known in mounts):
        return container
    return replace(container, volume_mounts=(*mounts, mount))


def token_volume(name: str) -> Volume:
    namespace = ObjectFieldSelector(api_version="v1", field_path="metadata.namespace")
    sources = (
        VolumeProjection(
            service_account_token=ServiceAccountTokenProjection(expiration_seconds=TOKEN_SECONDS, path="token")
        ),
        VolumeProjection(
            config_map=ConfigMapProjection(name="kube-root-ca.crt", items=(KeyToPath(key="ca.crt", path="ca.crt"),))
        ),
        VolumeProjection(
            downward_api=DownwardAPIProjection(items=(DownwardAPIVolumeFile(path="namespace", field_ref=namespace),))
        ),
    )
    return Volume(name=name, projected=ProjectedVolumeSource(sources=sources, default_mode=0o644))
