"""Certificates and TLS, over real handshakes."""

import ssl
from pathlib import Path

import pytest

from kybern.web.client import Client
from kybern.web.client_errors import ConnectFailed
from kybern.web.http import Request, Response
from kybern.web.pki import (
    CLIENT,
    SERVER,
    Pair,
    Subject,
    create_ca,
    create_signing_key,
    expires_at,
    issue,
    public_key_of,
    read_pair,
    subject_of,
    write_pair,
)
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context

NOW = 1_790_000_000.0  # Within the validity that the handshake, which has the machine's clock, will accept.


@pytest.fixture(scope="module")
def now() -> float:
    import time

    return time.time()


@pytest.fixture(scope="module")
def ca(now: float) -> Pair:
    return create_ca("kybern-ca", now)


async def whoami(request: Request) -> Response:
    if request.peer.certificate is None:
        return Response(401)
    subject = subject_of(request.peer.certificate)
    return Response(200, {}, f"{subject.common_name} {','.join(subject.organizations)}".encode())


async def test_a_client_certificate_names_its_holder(ca: Pair, now: float) -> None:
    own = issue(ca, "server", now=now, dns_names=["localhost"], ips=["127.0.0.1"], usages=[SERVER])
    jane = issue(ca, "jane", now=now, organizations=["dev", "ops"], usages=[CLIENT])
    server = await serve(whoami, ssl=server_context(own.certificate, own.key, client_ca=ca.certificate))
    url = f"https://127.0.0.1:{server.port}"
    async with Client(url, ssl=client_context(ca=ca.certificate, certificate=jane.certificate, key=jane.key)) as client:
        assert (await client.send(Request("GET", "/"))).body == b"jane dev,ops"
    async with Client(url, ssl=client_context(ca=ca.certificate)) as client:
        assert (await client.send(Request("GET", "/"))).status == 401
    await server.close()


async def test_certificates_of_others_are_refused(ca: Pair, now: float) -> None:
    own = issue(ca, "server", now=now, ips=["127.0.0.1"])
    other = create_ca("kybern-ca", now)
    stranger = issue(other, "jane", now=now)
    server = await serve(whoami, ssl=server_context(own.certificate, own.key, client_ca=ca.certificate))
    url = f"https://127.0.0.1:{server.port}"
    with pytest.raises(ConnectFailed):
        await Client(url, ssl=client_context(ca=other.certificate)).send(Request("GET", "/"))
    context = client_context(ca=ca.certificate, certificate=stranger.certificate, key=stranger.key)
    with pytest.raises(Exception, match=r"."):
        await Client(url, ssl=context).send(Request("GET", "/"))
    with pytest.raises(ConnectFailed):
        await Client(f"https://localhost:{server.port}", ssl=client_context(ca=ca.certificate)).send(
            Request("GET", "/")
        )
    await server.close(grace_seconds=0)


def test_certificates_pass_the_strict_check_of_newer_pythons(ca: Pair, now: float) -> None:
    own = issue(ca, "server", now=now, ips=["127.0.0.1"])
    context = client_context(ca=ca.certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    incoming, outgoing, s_in, s_out = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    server = server_context(own.certificate, own.key).wrap_bio(s_in, s_out, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            s_in.write(outgoing.read())
            incoming.write(s_out.read())
    assert client.getpeercert(True)


def test_time_is_passed_in(now: float) -> None:
    assert expires_at(create_ca("ca", NOW, days=10).certificate) == NOW + 10 * 86400


def test_keys_are_written_for_their_owner_only(ca: Pair, tmp_path: Path) -> None:
    write_pair(tmp_path / "pki", "ca", ca)
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700
    assert read_pair(tmp_path / "pki", "ca") == ca
    assert sorted(path.name for path in (tmp_path / "pki").iterdir()) == ["ca.crt", "ca.key"]
    assert read_pair(tmp_path, "none") is None


def test_a_subject_without_a_name_is_empty(ca: Pair, now: float) -> None:
    pair = issue(ca, "x", now=now)
    der = ssl.PEM_cert_to_DER_cert(pair.certificate.decode())
    assert subject_of(der) == Subject("x", ())


def test_a_signing_key_has_a_public_half() -> None:
    assert public_key_of(create_signing_key()).startswith(b"-----BEGIN PUBLIC KEY-----")
