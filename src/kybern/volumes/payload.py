"""The files of configMap, secret, downwardAPI and projected volumes, from the objects they name.

What is missing and not optional is a `VolumeFault`: the pod waits, and an event says for what.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence

from kybern.api.certificates_v1 import ClusterTrustBundle
from kybern.api.core_v1 import (
    ClusterTrustBundleProjection,
    ConfigMap,
    DownwardAPIVolumeFile,
    KeyToPath,
    Pod,
    PodCertificateProjection,
    ProjectedVolumeSource,
    Secret,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from kybern.volumes.atomic import Projection
from kybern.volumes.downward import Facts, FieldUnknown, field_text, resource_text
from kybern.volumes.objects import Objects
from kybern.volumes.pod_certificates import NotIssued

PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
MODE_DEFAULT = 0o644
TOKEN_SECONDS_DEFAULT = 3600
TOKEN_MODE_PRIVATE = 0o600

Payload = dict[str, Projection]


class VolumeFault(Exception):
    """A volume cannot be set up now; the message is what the pod's event says."""


class Contents:
    """What a volume of one pod shall contain."""

    def __init__(self, objects: Objects, pod: Pod, facts: Facts, not_before: float | None) -> None:
        self.objects, self.pod, self.facts, self.not_before = objects, pod, facts, not_before
        self.namespace = pod.metadata.namespace or ""

    async def of(self, volume: Volume) -> Payload:
        if volume.config_map:
            found = volume.config_map
            return await self.config_map(found.name, found.items, found.optional, found.default_mode)
        if volume.secret:
            kept = volume.secret
            return await self.secret(kept.secret_name, kept.items, kept.optional, kept.default_mode)
        if volume.downward_api:
            return self.downward(volume.downward_api.items, volume.downward_api.default_mode)
        assert volume.projected is not None
        return await self.projected(volume.projected)

    async def config_map(
        self, name: str | None, items: Sequence[KeyToPath] | None, optional: bool | None, mode: int | None
    ) -> Payload:
        found = await self.objects.get(ConfigMap, self.namespace, name or "", self.not_before)
        if found is None:
            return _absent(f'configmap "{name}" not found', optional)
        data = {key: text.encode() for key, text in (found.data or {}).items()}
        data |= {key: b64decode(text) for key, text in (found.binary_data or {}).items()}
        return _selected(data, items, bool(optional), mode, "configmap references non-existent config key: {}")

    async def secret(
        self, name: str | None, items: Sequence[KeyToPath] | None, optional: bool | None, mode: int | None
    ) -> Payload:
        found = await self.objects.get(Secret, self.namespace, name or "", self.not_before)
        if found is None:
            return _absent(f'secret "{name}" not found', optional)
        data = {key: b64decode(text) for key, text in (found.data or {}).items()}
        return _selected(data, items, bool(optional), mode, "references non-existent secret key: {}")

    def downward(self, items: Sequence[DownwardAPIVolumeFile] | None, mode: int | None) -> Payload:
        payload: Payload = {}
        for item in items or ():
            try:
                if item.field_ref:
                    text = field_text(self.pod, item.field_ref, self.facts)
                elif item.resource_field_ref:
                    text = resource_text(self.pod, item.resource_field_ref, self.facts)
                else:
                    continue
            except FieldUnknown as unknown:
                raise VolumeFault(str(unknown)) from unknown
            payload[item.path] = Projection(text.encode(), _mode(item.mode, mode))
        return payload

    async def projected(self, source: ProjectedVolumeSource) -> Payload:
        payload: Payload = {}
        faults: list[str] = []
        for part in source.sources or ():
            try:
                payload |= await self.part(part, source.default_mode)
            except VolumeFault as fault:
                faults.append(str(fault))
        if faults:
            raise VolumeFault(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
        return payload

    async def part(self, part: VolumeProjection, mode: int | None) -> Payload:
        if part.config_map:
            return await self.config_map(part.config_map.name, part.config_map.items, part.config_map.optional, mode)
        if part.secret:
            return await self.secret(part.secret.name, part.secret.items, part.secret.optional, mode)
        if part.downward_api:
            return self.downward(part.downward_api.items, mode)
        if part.service_account_token:
            return await self.token(part.service_account_token, mode)
        if part.cluster_trust_bundle:
            return await self.trust_bundle(part.cluster_trust_bundle, mode)
        if part.pod_certificate:
            return await self.certificate(part.pod_certificate, mode)
        raise VolumeFault("a source of this projected volume is of a kind that this node does not know")

    async def token(self, source: ServiceAccountTokenProjection, mode: int | None) -> Payload:
        seconds = source.expiration_seconds or TOKEN_SECONDS_DEFAULT
        token = await self.objects.token(self.pod, source.audience or "", seconds)
        return {source.path: self._private(token.text, mode)}

    def _private(self, text: str, mode: int | None) -> Projection:
        """For the pod's one user alone, where it has one, or its group."""
        owner = only_user(self.pod)
        shared = self.pod.spec.security_context
        private = owner is not None or (shared is not None and shared.fs_group is not None)
        return Projection(text.encode(), TOKEN_MODE_PRIVATE if private else _mode(None, mode), owner)

    async def certificate(self, source: PodCertificateProjection, mode: int | None) -> Payload:
        try:
            found = await self.objects.certificates.of(self.pod, source)
        except NotIssued as why:
            raise VolumeFault(str(why)) from why
        files = {
            source.credential_bundle_path: found.key + found.chain,
            source.key_path: found.key,
            source.certificate_chain_path: found.chain,
        }
        return {path: self._private(text, mode) for path, text in files.items() if path}

    async def trust_bundle(self, source: ClusterTrustBundleProjection, mode: int | None) -> Payload:
        if source.name:
            found = await self.objects.get(ClusterTrustBundle, "", source.name, self.not_before)
            bundles = [found] if found is not None else []
            missing = f'clustertrustbundles.certificates.k8s.io "{source.name}" not found'
        else:
            bundles = await self.objects.trust_bundles(source.signer_name or "", source.label_selector)
            missing = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
        if not bundles and not source.optional:
            raise VolumeFault(missing)
        text = certificates(bundle.spec.trust_bundle for bundle in bundles)
        return {source.path: Projection(text.encode(), _mode(None, mode))}


def certificates(bundles: Iterable[str]) -> str:
    """Every certificate of them once, in an order that says nothing, without what stands between."""
    found = {"".join(block.split()) for bundle in bundles for block in PEM.findall(bundle)}
    lines = ("\n".join(block[at : at + 64] for at in range(0, len(block), 64)) for block in sorted(found))
    return "".join(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n" for body in lines)


def only_user(pod: Pod) -> int | None:
    """The user that all containers run as, where it is one and known."""
    shared = pod.spec.security_context.run_as_user if pod.spec.security_context else None
    users = set()
    for container in (*pod.spec.containers, *(pod.spec.init_containers or ())):
        own = container.security_context.run_as_user if container.security_context else None
        users.add(shared if own is None else own)
    return users.pop() if len(users) == 1 else None


def _absent(message: str, optional: bool | None) -> Payload:
    if optional:
        return {}
    raise VolumeFault(message)


def _selected(
    data: Mapping[str, bytes], items: Sequence[KeyToPath] | None, optional: bool, mode: int | None, missing: str
) -> Payload:
    """All keys as files, or the ones that `items` names, under the paths it gives."""
    if not items:
        return {key: Projection(content, _mode(None, mode)) for key, content in data.items()}
    payload: Payload = {}
    for item in items:
        if item.key in data:
            payload[item.path] = Projection(data[item.key], _mode(item.mode, mode))
        elif not optional:
            raise VolumeFault(missing.format(item.key))
    return payload


def _mode(own: int | None, default: int | None) -> int:
    if own is not None:
        return own
    return MODE_DEFAULT if default is None else default
