"""What a certificate request asks for, and whether its signer may grant that: upstream's rules for its own signers, and ours.

`refusal` says why not, in upstream's words; an empty text means that nothing speaks against it. kubelets get
certificates in their node's name only, and no name beside it that could stand for something else.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from kybern.aio.backoff import Backoff
from kybern.api.certificates_v1 import CertificateSigningRequest
from kybern.web.pki import UNREADABLE, PublicKey, Subject, proves_its_key

API_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
NETWORK_CLIENT = "kybern.io/node-network-client"
"""Ours: for what follows the network on a node that has joined, see `kybern.cmd.credentials`."""

RETRY = Backoff(first_seconds=0.2, max_seconds=1000.0)
"""How long a request that could not be decided waits: upstream's."""

NODE_PREFIX = "system:node:"
NODE_GROUP = "system:nodes"
NETWORK_PREFIX = "kybern:node-network:"
NETWORK_GROUP = "kybern:node-networks"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a certificate, read."""

    subject: Subject
    key: PublicKey
    dns_names: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    usages: frozenset[str] = frozenset()


def asked_by(csr: CertificateSigningRequest) -> Asked:
    """ValueError where it cannot be read, or is not signed with the key it is for."""
    try:
        return read(csr)
    except UNREADABLE as error:
        raise ValueError(str(error)) from None


def read(csr: CertificateSigningRequest) -> Asked:
    request = x509.load_pem_x509_csr(base64.b64decode(csr.spec.request))
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise ValueError("x509: unsupported public key algorithm")
    if not proves_its_key(request):
        raise ValueError("x509: the request is not signed with its own key")
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return Asked(
        subject=Subject(
            "".join(texts(request.subject, NameOID.COMMON_NAME)[-1:]), texts(request.subject, NameOID.ORGANIZATION_NAME)
        ),
        key=key,
        dns_names=tuple(names.get_values_for_type(x509.DNSName)),
        ips=tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)),
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        usages=frozenset(csr.spec.usages or ()),
    )


def texts(name: x509.Name, part: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(found.value) for found in name.get_attributes_for_oid(part))


def client_refusal(asked: Asked) -> str:
    for usage in sorted(asked.usages):
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in asked.usages else "missing required usage for client certificate: client auth"


def kubelet_client_refusal(asked: Asked) -> str:
    return not_of_nodes(asked) or other_names(asked) or not_named_as_node(asked) or other_usages(asked, "client auth")


def network_client_refusal(asked: Asked) -> str:
    subject = asked.subject
    is_network = subject.organizations == (NETWORK_GROUP,) and subject.common_name.startswith(NETWORK_PREFIX)
    why = "" if is_network else f"the subject is not {NETWORK_PREFIX}NODE of {NETWORK_GROUP}"
    return why or other_names(asked) or other_usages(asked, "client auth")


def other_names(asked: Asked) -> str:
    return (
        ("DNS subjectAltNames are not allowed" if asked.dns_names else "")
        or ("Email subjectAltNames are not allowed" if asked.emails else "")
        or ("IP subjectAltNames are not allowed" if asked.ips else "")
        or ("URI subjectAltNames are not allowed" if asked.uris else "")
    )


def kubelet_serving_refusal(asked: Asked) -> str:
    return (
        not_of_nodes(asked)
        or ("" if asked.dns_names or asked.ips else "DNS or IP subjectAltName is required")
        or ("Email subjectAltNames are not allowed" if asked.emails else "")
        or ("URI subjectAltNames are not allowed" if asked.uris else "")
        or other_usages(asked, "server auth")
        or not_named_as_node(asked)
    )


def not_of_nodes(asked: Asked) -> str:
    return "" if asked.subject.organizations == (NODE_GROUP,) else "subject organization is not system:nodes"


def not_named_as_node(asked: Asked) -> str:
    named = asked.subject.common_name.startswith(NODE_PREFIX)
    return "" if named else "subject common name does not begin with system:node: prefix"


def other_usages(asked: Asked, main: str) -> str:
    """With `key encipherment`, which RSA keys have a use for, or without."""
    required = {"digital signature", "key encipherment", main}
    if asked.usages in (required, required - {"key encipherment"}):
        return ""
    return f"usages did not match [{' '.join(sorted(required))}]"


REFUSALS: dict[str, Callable[[Asked], str]] = {
    API_CLIENT: client_refusal,
    KUBELET_CLIENT: kubelet_client_refusal,
    KUBELET_SERVING: kubelet_serving_refusal,
    LEGACY_UNKNOWN: lambda asked: "",
    NETWORK_CLIENT: network_client_refusal,
}


def refusal(signer: str, asked: Asked) -> str:
    return REFUSALS[signer](asked)


def condition_types(csr: CertificateSigningRequest) -> set[str]:
    return {condition.type for condition in csr.status.conditions or ()}
