"""What is approved by itself, what is signed and how, and what goes."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from kybern.api.core_v1 import (
    EndpointAddress,
    Endpoints,
    EndpointSubset,
    Node,
    NodeAddress,
    NodeStatus,
    Service,
    ServiceSpec,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.certificates.approving import permissions
from kybern.controllers.certificates.cleaning import is_over
from kybern.controllers.certificates.requests import (
    API_CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    LEGACY_UNKNOWN,
    NETWORK_CLIENT,
    Asked,
)
from kybern.controllers.certificates.serving import is_its_own, others_addresses
from kybern.controllers.certificates.signing import decided, is_to_sign
from kybern.testing.certificates import signing_request
from kybern.web.pki import Pair, Subject, create_ca
from kybern.web.pki import request as web_request

NOW = 1_790_000_000.0
NODE = ("system:nodes",)
CLIENT_USAGES = ("digital signature", "client auth")
SERVER_USAGES = ("digital signature", "key encipherment", "server auth")


@pytest.fixture(scope="module")
def ca() -> Pair:
    return create_ca("ca", NOW)


def request(signer: str, usages: tuple[str, ...], name: str, groups: tuple[str, ...] = (), **names: str) -> Any:
    user = names.pop("user", "")
    spec = CertificateSigningRequestSpec(
        request=signing_request(name, groups, **names), signer_name=signer, usages=usages, username=user
    )
    meta = ObjectMeta(name="mine", creation_timestamp=rfc3339(NOW))
    return CertificateSigningRequest(metadata=meta, spec=spec)


def with_condition(csr: Any, *types: str, certificate: str = "") -> Any:
    conditions = tuple(
        CertificateSigningRequestCondition(type=type_, status="True", last_update_time=rfc3339(NOW)) for type_ in types
    )
    return replace(csr, status=CertificateSigningRequestStatus(conditions=conditions, certificate=certificate or None))


def certificate(csr: CertificateSigningRequest, ca: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(decided(csr, ca, NOW).status.certificate or ""))


def failure(csr: CertificateSigningRequest, ca: Pair) -> tuple[str | None, str | None]:
    (condition,) = decided(csr, ca, NOW).status.conditions or ()
    assert condition.type == "Failed"
    return condition.reason, condition.message


def test_a_node_may_have_its_own_certificate_by_either_right() -> None:
    csr = request(KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, user="system:node:n1")
    assert [name for name, _ in permissions(csr)] == ["selfnodeclient", "nodeclient"]


def test_a_nodes_network_has_a_right_of_its_own_and_a_kubelet_none_to_it() -> None:
    asked = ("kybern:node-network:n1", "kybern:node-networks")
    for user, rights in (
        ("kybern:node-network:n1", ["selfnodenetworkclient", "nodenetworkclient"]),
        ("system:node:n1", ["nodenetworkclient"]),
    ):
        csr = request(NETWORK_CLIENT, CLIENT_USAGES, asked[0], (asked[1],), user=user)
        assert [name for name, _ in permissions(csr)] == rights


@pytest.mark.parametrize("csr", [
    request(NETWORK_CLIENT, CLIENT_USAGES, "system:node:n1", NODE),
    request(NETWORK_CLIENT, CLIENT_USAGES, "kybern:node-network:n1", ("system:masters",)),
    request(NETWORK_CLIENT, CLIENT_USAGES, "kybern:node-network:n1", ("kybern:node-networks", "system:masters")),
    request(NETWORK_CLIENT, CLIENT_USAGES, "kubernetes-admin", ("kybern:node-networks",)),
    request(NETWORK_CLIENT, SERVER_USAGES, "kybern:node-network:n1", ("kybern:node-networks",)),
    request(NETWORK_CLIENT, CLIENT_USAGES, "kybern:node-network:n1", ("kybern:node-networks",), dns_name="n1"),
])  # fmt: skip
def test_the_signer_of_networks_grants_that_one_name_only(csr: CertificateSigningRequest, ca: Pair) -> None:
    assert permissions(csr) == []
    assert failure(csr, ca)[0] == "SignerValidationFailure"


def test_whoever_brings_nodes_in_needs_the_right_for_any_node() -> None:
    csr = request(KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, user="system:bootstrap:abcdef")
    assert permissions(csr) == [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]


@pytest.mark.parametrize("csr", [
    request(KUBELET_SERVING, SERVER_USAGES, "system:node:n1", NODE, dns_name="n1", user="system:node:n1"),
    request(API_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, user="system:node:n1"),
    request(LEGACY_UNKNOWN, CLIENT_USAGES, "system:node:n1", NODE, user="system:node:n1"),
    request(KUBELET_CLIENT, CLIENT_USAGES, "n1", NODE, user="system:node:n1"),
    request(KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", ("system:masters",), user="system:node:n1"),
    request(KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, dns_name="n1", user="system:node:n1"),
    request(KUBELET_CLIENT, SERVER_USAGES, "system:node:n1", NODE, user="system:node:n1"),
])  # fmt: skip
def test_nothing_else_is_approved_by_itself(csr: CertificateSigningRequest) -> None:
    assert permissions(csr) == []


def test_only_what_is_approved_and_not_yet_decided_is_signed() -> None:
    csr = request(API_CLIENT, CLIENT_USAGES, "jane")
    assert not is_to_sign(csr)
    assert is_to_sign(with_condition(csr, "Approved"))
    assert not is_to_sign(with_condition(csr, "Approved", "Failed"))
    assert not is_to_sign(with_condition(csr, "Approved", certificate="there"))
    assert not is_to_sign(with_condition(csr, "Denied"))
    assert not is_to_sign(with_condition(request("example.com/mine", CLIENT_USAGES, "jane"), "Approved"))


def test_a_certificate_says_what_was_asked_for_and_no_more(ca: Pair) -> None:
    csr = request(KUBELET_SERVING, SERVER_USAGES, "system:node:n1", NODE, dns_name="n1", ip="10.244.0.1")
    made = certificate(csr, ca)
    assert made.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.244.0.1"]
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in extended] == ["1.3.6.1.5.5.7.3.1"]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment and not usage.key_cert_sign
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate))


@pytest.mark.parametrize(("asked", "lived"), [(None, 365 * 86400), (3600, 3600), (600, 600), (10**9, 365 * 86400)])
def test_a_certificate_lives_as_long_as_asked_up_to_a_year(ca: Pair, asked: int | None, lived: int) -> None:
    csr = request(API_CLIENT, CLIENT_USAGES, "jane")
    made = certificate(replace(csr, spec=replace(csr.spec, expiration_seconds=asked)), ca)
    assert made.not_valid_after_utc.timestamp() == NOW + lived


def test_a_certificate_ends_with_its_authority() -> None:
    short = create_ca("ca", NOW, days=1)
    made = certificate(request(API_CLIENT, CLIENT_USAGES, "jane"), short)
    end = x509.load_pem_x509_certificate(short.certificate).not_valid_after_utc
    assert abs(made.not_valid_after_utc - end) < timedelta(seconds=2)


def test_a_use_that_only_legacy_knows_stays_the_only_one(ca: Pair) -> None:
    made = certificate(request(LEGACY_UNKNOWN, ("code signing", "signing"), "x"), ca)
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in extended] == ["1.3.6.1.5.5.7.3.3"]


WRONG = [
    (KUBELET_SERVING, SERVER_USAGES, "n1", NODE, {"dns_name": "n1"},
     "subject common name does not begin with system:node: prefix"),
    (KUBELET_SERVING, SERVER_USAGES, "system:node:n1", (), {"dns_name": "n1"},
     "subject organization is not system:nodes"),
    (KUBELET_SERVING, SERVER_USAGES, "system:node:n1", NODE, {}, "DNS or IP subjectAltName is required"),
    (KUBELET_SERVING, CLIENT_USAGES, "system:node:n1", NODE, {"ip": "10.0.0.1"},
     "usages did not match [digital signature key encipherment server auth]"),
    (KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, {"email": "a@b.c"}, "Email subjectAltNames are not allowed"),
    (KUBELET_CLIENT, CLIENT_USAGES, "system:node:n1", NODE, {"ip": "10.0.0.1"}, "IP subjectAltNames are not allowed"),
    (API_CLIENT, ("client auth", "cert sign"), "eve", (), {}, "invalid usage for client certificate: cert sign"),
    (API_CLIENT, ("digital signature",), "eve", (), {},
     "missing required usage for client certificate: client auth"),
]  # fmt: skip


@pytest.mark.parametrize(("signer", "usages", "name", "groups", "names", "message"), WRONG)
def test_what_a_signer_cannot_grant_fails_with_the_reason(
    ca: Pair, signer: str, usages: tuple[str, ...], name: str, groups: tuple[str, ...], names: Any, message: str
) -> None:
    assert failure(request(signer, usages, name, groups, **names), ca) == ("SignerValidationFailure", message)


def test_what_is_no_request_fails(ca: Pair) -> None:
    csr = request(API_CLIENT, CLIENT_USAGES, "jane")
    broken = replace(csr, spec=replace(csr.spec, request=base64.b64encode(b"nonsense").decode()))
    assert (failure(broken, ca)[1] or "").startswith('unable to parse csr "mine": ')


def test_an_approved_request_without_a_certificate_goes_after_a_day() -> None:
    csr = with_condition(request(API_CLIENT, CLIENT_USAGES, "jane"), "Approved")
    assert not is_over(csr, NOW + 86400)
    assert is_over(csr, NOW + 86401)


def test_a_decided_request_goes_after_an_hour_and_a_pending_one_after_a_day() -> None:
    csr = request(API_CLIENT, CLIENT_USAGES, "jane")
    for decision in ("Approved", "Denied", "Failed"):
        done = with_condition(csr, decision)
        if decision == "Approved":
            done = replace(
                done, status=replace(done.status, certificate=base64.b64encode(b"another signer's").decode())
            )
        assert not is_over(done, NOW + 3600)
        assert is_over(done, NOW + 3601)
    assert not is_over(csr, NOW + 86400)
    assert is_over(csr, NOW + 86401)


def test_a_request_goes_with_the_end_of_its_certificate(ca: Pair) -> None:
    csr = request(API_CLIENT, CLIENT_USAGES, "jane")
    short = replace(csr, spec=replace(csr.spec, expiration_seconds=600))
    signed = replace(decided(with_condition(short, "Approved"), ca, NOW), metadata=csr.metadata)
    assert not is_over(signed, NOW + 599)
    assert is_over(signed, NOW + 601)


def node(name: str, *addresses: str) -> Node:
    status = NodeStatus(addresses=tuple(NodeAddress(type="InternalIP", address=ip) for ip in addresses))
    return Node(metadata=ObjectMeta(name=name), status=status)


@pytest.mark.parametrize(
    ("ips", "names", "granted"),
    [
        (["192.0.2.2"], [], True),
        (["192.0.2.9"], [], False),  # its object has no such address
        (["192.0.2.2"], ["two"], False),
        (["192.0.2.2", "192.0.2.1"], [], False),  # the other node's, which its object has too
        (["10.96.0.1"], [], False),  # the API server's Service
        (["192.0.2.7"], [], False),  # the API server's own
        (["127.0.0.1"], [], False),
    ],
)
def test_a_kubelet_gets_a_serving_certificate_for_its_own_addresses_alone(
    ips: list[str], names: list[str], granted: bool
) -> None:
    two = node("two", "192.0.2.2", "192.0.2.1", "10.96.0.1", "192.0.2.7", "127.0.0.1")
    kubernetes = Service(spec=ServiceSpec(cluster_ips=("10.96.0.1",)))
    server = Endpoints(subsets=(EndpointSubset(addresses=(EndpointAddress(ip="192.0.2.7"),)),))
    others = others_addresses(two, [node("one", "192.0.2.1"), two], [kubernetes], server)
    made = web_request("system:node:two", NODE, ips)
    asked = Asked(Subject("system:node:two", NODE), read(made), tuple(names), tuple(ips))
    assert is_its_own(asked, two, others) is granted


def read(made: Pair) -> Any:
    return x509.load_pem_x509_csr(made.certificate).public_key()
