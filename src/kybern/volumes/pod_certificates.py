"""Certificates of pods: a key is made here and stays here, a signer is asked for a certificate of it, and asked again in time.

Until the signer has answered, the volume cannot be set up. While a new certificate is on its way, the old one serves.
A request that was denied stays denied: its pod has to be made anew.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kybern.aio.clock import Clock, from_rfc3339
from kybern.api.certificates_v1 import PodCertificateRequest, PodCertificateRequestSpec
from kybern.api.codec import encode
from kybern.api.core_v1 import Node, Pod, PodCertificateProjection, ServiceAccount
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client

SECONDS_DEFAULT = 86_400
ANSWER_SECONDS = 2.0  # that a pod's start waits for a signer before it is told that it waits
LOOK_SECONDS = 0.1
GIVEN_UP_SECONDS = 900.0

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KEYS: Mapping[str, Callable[[], Key]] = {
    "RSA3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA4096": lambda: rsa.generate_private_key(65537, 4096),
    "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ED25519": ed25519.Ed25519PrivateKey.generate,
}


class NotIssued(Exception):
    """There is no certificate now; the message is what the pod's event says."""


@dataclass(frozen=True, slots=True)
class Credentials:
    key: str
    chain: str
    refreshed_at: float
    """When the next is asked for."""


@dataclass(frozen=True, slots=True)
class _Asked:
    key: str
    name: str
    at: float


@dataclass(slots=True)
class _State:
    now: Credentials | None = None
    asked: _Asked | None = None
    denied: str = ""


class PodCertificates:
    def __init__(self, client: Client, clock: Clock) -> None:
        self.client, self.clock = client, clock
        self._states: dict[tuple[str, bytes], _State] = {}
        """By pod, and what was asked for."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, pod: Pod, source: PodCertificateProjection) -> Credentials:
        """NotIssued where there is none yet."""
        uid = pod.metadata.uid or ""
        async with self._locks.setdefault(uid, asyncio.Lock()):
            identity = (uid, encode(source))
            state = self._states.setdefault(identity, _State())
            if state.denied:
                raise NotIssued(state.denied)
            if state.asked is None and (state.now is None or self.clock.wall() >= state.now.refreshed_at):
                state.asked = await self._ask(pod, source)
            if state.asked is not None:
                await self._look(pod, state, state.asked, patient=state.now is None)
            if state.now is None:
                raise NotIssued(state.denied or f"certificate of signer {source.signer_name} is not issued yet")
            return state.now

    async def _ask(self, pod: Pod, source: PodCertificateProjection) -> _Asked:
        if source.key_type not in KEYS:
            raise NotIssued(f"unknown key type {source.key_type}")
        key = await asyncio.to_thread(KEYS[source.key_type])
        account = pod.spec.service_account_name or "default"
        namespace, node = pod.metadata.namespace or "", pod.spec.node_name or ""
        spec = PodCertificateRequestSpec(
            signer_name=source.signer_name,
            pod_name=pod.metadata.name or "",
            pod_uid=pod.metadata.uid or "",
            service_account_name=account,
            service_account_uid=(await self.client.get(ServiceAccount, account, namespace)).metadata.uid or "",
            node_name=node,
            node_uid=(await self.client.get(Node, node)).metadata.uid or "",
            max_expiration_seconds=source.max_expiration_seconds or SECONDS_DEFAULT,
            stub_pkcs10_request=b64encode(stub(key)).decode(),
            unverified_user_annotations=source.user_annotations,
        )
        meta = ObjectMeta(generate_name=f"req-{pod.metadata.name}-"[:60], namespace=namespace)
        made = await self.client.create(PodCertificateRequest(metadata=meta, spec=spec))
        return _Asked(pem(key), made.metadata.name or "", self.clock.wall())

    async def _look(self, pod: Pod, state: _State, asked: _Asked, *, patient: bool) -> None:
        """Has the signer answered? One that does not for long is asked anew."""
        until = self.clock.monotonic() + (ANSWER_SECONDS if patient else 0.0)
        while not await self._answered(pod, state, asked):
            if self.clock.monotonic() >= until:
                break
            await self.clock.sleep(LOOK_SECONDS)
        if state.asked is asked and self.clock.wall() - asked.at > GIVEN_UP_SECONDS:
            state.asked = None

    async def _answered(self, pod: Pod, state: _State, asked: _Asked) -> bool:
        try:
            found = await self.client.get(PodCertificateRequest, asked.name, pod.metadata.namespace or "")
        except NotFound:
            state.asked = None
            return True
        conditions = {condition.type: condition for condition in found.status.conditions or ()}
        refusal = conditions.get("Denied") or conditions.get("Failed")
        if refusal is not None:
            kind = "denied" if "Denied" in conditions else "failed"
            state.asked = None
            text = (
                f'PodCertificateRequest "{asked.name}" was {kind}: reason={refusal.reason}, message={refusal.message}'
            )
            if state.now is None:
                state.denied = text
            else:
                state.now = replace(state.now, refreshed_at=self.clock.wall() + GIVEN_UP_SECONDS)
            return True
        if "Issued" not in conditions or not found.status.certificate_chain:
            return False
        due = found.status.begin_refresh_at or found.status.not_after
        refreshed_at = from_rfc3339(due) if due else self.clock.wall() + SECONDS_DEFAULT
        state.now = Credentials(asked.key, blocks_of(found.status.certificate_chain), refreshed_at)
        state.asked = None
        return True

    def forget_pod(self, uid: str) -> None:
        self._locks.pop(uid, None)
        for identity in [identity for identity in self._states if identity[0] == uid]:
            del self._states[identity]


def stub(key: Key) -> bytes:
    """An empty request that proves that its sender has the key."""
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    return request.public_bytes(Encoding.DER)


def pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def blocks_of(chain: str) -> str:
    """The certificates alone, in their order."""
    found = x509.load_pem_x509_certificates(chain.encode())
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)
