"""Whom an API server may believe besides itself, for real: an issuer of tokens, a server that knows tokens, one that
decides, one that has groups, all at one address over TLS; and certificates through an intermediate authority.
"""

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kybern.web.pki import SERVER, Pair, create_ca, issue

AUDIENCE = "kybern"


@dataclass
class Authorities:
    url: str
    ca: Pair
    key: rsa.RSAPrivateKey
    decide: Callable[[Any], dict[str, Any]]
    """The status of a SubjectAccessReview, from its spec."""
    asked: list[Any] = field(default_factory=list)
    """Specs of the reviews that came."""

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + 600, **claims}
        return jwt.encode(told, self.key, "RS256", headers={"kid": "k"})

    def answered(self, path: str, body: Any) -> Any:
        match path:
            case "/.well-known/openid-configuration":
                return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            case "/keys":
                public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
                return {"keys": [{**public, "kid": "k", "use": "sig", "alg": "RS256"}]}
            case "/groups/jane":
                return self.token(groups=["developers"])
            case "/tokens":
                known = body["spec"]["token"] == "opaque"
                user = {"username": "robot", "groups": ["machines"]}
                return {**body, "status": {"authenticated": True, "user": user} if known else {"authenticated": False}}
            case "/authorize":
                self.asked.append(body["spec"])
                return {**body, "status": self.decide(body["spec"])}
        return None


@contextmanager
def authorities(folder: Path, decide: Callable[[Any], dict[str, Any]]) -> Iterator[Authorities]:
    now = time.time() - 60
    ca = create_ca("elsewhere", now)
    pair = issue(ca, "elsewhere", now=now, ips=["127.0.0.1"], usages=(SERVER,))
    (folder / "elsewhere.pem").write_bytes(pair.certificate + pair.key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            made = found.answered(self.path, json.loads(self.rfile.read(length)) if length else None)
            body = b"" if made is None else made.encode() if isinstance(made, str) else json.dumps(made).encode()
            self.send_response(200 if made is not None else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "elsewhere.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    key = rsa.generate_private_key(65537, 2048)
    found = Authorities(f"https://127.0.0.1:{server.server_address[1]}", ca, key, decide)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(path: Path, found: Authorities, where: str) -> Path:
    """What names such a server to an API server."""
    authority = base64.b64encode(found.ca.certificate).decode()
    cluster = {"server": f"{found.url}{where}", "certificate-authority-data": authority}
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def proxied(folder: Path) -> tuple[Path, Path]:
    """A front proxies' authority, and a proxy's certificate (with its key) that an intermediate one signed."""
    root_key, between_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = signed("proxies", root_key, "proxies", root_key, authority=True)
    between = signed("between", between_key, "proxies", root_key, authority=True)
    leaf = signed("proxy", leaf_key, "between", between_key, authority=False)
    private = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "proxies.crt").write_bytes(root)
    (folder / "proxy.pem").write_bytes(leaf + between + private)
    return folder / "proxies.crt", folder / "proxy.pem"


def signed(
    name: str, key: ec.EllipticCurvePrivateKey, by: str, by_key: ec.EllipticCurvePrivateKey, *, authority: bool
) -> bytes:
    now = datetime.now(UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, by))
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(by_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
