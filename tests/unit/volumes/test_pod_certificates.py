"""Certificates of pods: asked of a signer with a key that never leaves, renewed in time, refused for good."""

import asyncio
import base64
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from kybern.aio.clock import SystemClock, rfc3339
from kybern.aio.ids import Ids
from kybern.api.certificates_v1 import PodCertificateRequest, PodCertificateRequestStatus
from kybern.api.core_v1 import (
    Container,
    Pod,
    PodCertificateProjection,
    PodSecurityContext,
    PodSpec,
    ProjectedVolumeSource,
    Volume,
    VolumeProjection,
)
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import Condition, ObjectMeta
from kybern.volumes.downward import Facts
from kybern.volumes.mounts import NoMounts
from kybern.volumes.objects import Objects
from kybern.volumes.payload import VolumeFault
from kybern.volumes.pod_certificates import KEYS
from kybern.volumes.pod_volumes import PodVolumes
from kybern.web.pki import create_ca, issue

T = TypeVar("T")
NOW = 1_767_225_600.0
CHAIN = issue(create_ca("ca", NOW), "a", now=NOW).certificate.decode()


class Clock(SystemClock):
    now = NOW

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Signing:
    """An API with a signer: `answer` is what it says of every request; nothing for nothing yet."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.requests, self.answer = clock, {}, "Issued"  # type: ignore[var-annotated]

    async def create(self, made: PodCertificateRequest) -> PodCertificateRequest:
        name = f"{made.metadata.generate_name}{len(self.requests)}"
        self.requests[name] = replace(made, metadata=replace(made.metadata, name=name))
        return self.requests[name]

    async def get(self, of: type[T], name: str, namespace: str = "") -> Any:
        if of is not PodCertificateRequest:
            return of(metadata=ObjectMeta(name=name, uid=f"uid-{name}"))
        if name not in self.requests:
            raise NotFound("not found")
        if not self.answer:
            return self.requests[name]
        issued = {"certificate_chain": f"noise\n{CHAIN}", "begin_refresh_at": rfc3339(self.clock.now + 600)}
        told = Condition(type=self.answer, status="True", reason="Because", message="so")
        status = PodCertificateRequestStatus(conditions=(told,), **(issued if self.answer == "Issued" else {}))
        return replace(self.requests[name], status=status)


class Place:
    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.api = Signing(self.clock)
        self.objects = Objects(self.api, self.clock)  # type: ignore[arg-type]
        self.volumes = PodVolumes(str(root / "pods"), self.objects, NoMounts(), self.clock, Ids(1))

    async def set_up(self, pod: Pod) -> Path:
        await self.volumes.set_up(pod, Facts(), self.objects.now())
        return Path(self.volumes.host_path(pod, "v"))


def made(**source: Any) -> Pod:
    given = {"signer_name": "example.com/signer", "key_type": "ED25519", "credential_bundle_path": "all.pem", **source}
    part = VolumeProjection(pod_certificate=PodCertificateProjection(**given))
    volume = Volume(name="v", projected=ProjectedVolumeSource(sources=(part,)))
    spec = PodSpec(
        containers=(Container(name="web"),),
        volumes=(volume,),
        node_name="n1",
        service_account_name="robot",
        security_context=PodSecurityContext(run_as_user=1000),
    )
    return Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=spec)


async def test_a_pod_finds_a_key_and_its_certificate_and_nobody_else_does(tmp_path: Path) -> None:
    place = Place(tmp_path)
    wanted = made(key_path="key.pem", certificate_chain_path="chain.pem", user_annotations={"example.com/a": "b"})
    found = await place.set_up(wanted)
    (request,) = place.api.requests.values()
    asked = x509.load_der_x509_csr(base64.b64decode(request.spec.stub_pkcs10_request))
    key = load_pem_private_key((found / "key.pem").read_bytes(), None)
    assert asked.is_signature_valid and not list(asked.subject)
    assert asked.public_key() == key.public_key()
    assert (found / "chain.pem").read_text() == CHAIN, "without what stood between"
    assert (found / "all.pem").read_text() == (found / "key.pem").read_text() + CHAIN
    assert (found / "all.pem").stat().st_mode & 0o777 == 0o600 and (found / "all.pem").stat().st_uid == 1000
    spec = request.spec
    assert (spec.pod_uid, spec.service_account_uid, spec.node_uid) == ("u", "uid-robot", "uid-n1")
    assert (spec.max_expiration_seconds, spec.unverified_user_annotations) == (86400, {"example.com/a": "b"})


async def test_it_is_asked_for_again_in_time_and_the_old_one_serves_meanwhile(tmp_path: Path) -> None:
    place = Place(tmp_path)
    first = (await place.set_up(made()) / "all.pem").read_text()
    place.clock.now += 599
    assert (await place.set_up(made()) / "all.pem").read_text() == first and len(place.api.requests) == 1
    place.clock.now += 2
    place.api.answer = ""
    assert (await place.set_up(made()) / "all.pem").read_text() == first and len(place.api.requests) == 2
    place.api.answer = "Issued"
    assert (await place.set_up(made()) / "all.pem").read_text() != first and len(place.api.requests) == 2


async def test_a_signer_that_does_not_answer_is_asked_anew_and_one_that_refuses_is_not(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.api.answer = ""
    for _ in range(2):
        with pytest.raises(VolumeFault, match=r"signer example.com/signer is not issued yet"):
            await place.set_up(made())
    assert len(place.api.requests) == 1
    place.clock.now += 901
    for _ in range(2):
        with pytest.raises(VolumeFault, match="not issued yet"):
            await place.set_up(made())
    assert len(place.api.requests) == 2
    place.api.answer = "Denied"
    for _ in range(2):
        with pytest.raises(VolumeFault, match="was denied: reason=Because, message=so"):
            await place.set_up(made())
    place.api.answer = "Issued"
    with pytest.raises(VolumeFault, match="was denied"):
        await place.set_up(made())
    place.objects.forget_pod("u")
    assert (await place.set_up(made()) / "all.pem").exists()


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind != "RSA4096"])
async def test_every_kind_of_key_is_made(tmp_path: Path, kind: str) -> None:
    assert (await Place(tmp_path).set_up(made(key_type=kind)) / "all.pem").exists()
