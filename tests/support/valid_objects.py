"""One valid object of every kind, and an API server that has them all: where tests of every kind begin.

kinds = valid_objects()                      # kind -> its object, as a client would send it
async with every_kind() as server: ...       # all of admission, in memory, nothing of it created yet
"""

import asyncio
import base64
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.kind import Kind
from kybern.apiserver.server import ApiServer
from kybern.registry import RESOURCES
from kybern.store.interface import Store
from kybern.store.memory import MemoryStore
from kybern.testing.cluster import api_server

FILE = Path(__file__).with_suffix(".yaml")
NAME = "sample"
UTF8 = "utf-8"


def valid_objects() -> dict[Kind, dict[str, Any]]:
    """A fresh copy each time."""
    return copy.deepcopy(_objects())


@cache
def _objects() -> dict[Kind, dict[str, Any]]:
    text = FILE.read_text(UTF8)
    for mark, value in pem_texts().items():
        text = text.replace(f"@{mark}@", value)
    by_name = {(obj["apiVersion"], obj["kind"]): obj for obj in yaml.safe_load(text)}
    found = {}
    for resource in RESOURCES:
        kind = resource.kind
        if {"post", "get"} <= set(kind.verbs):
            obj = by_name.pop((kind.api_version, kind.kind))
            metadata = {
                "name": NAME,
                **({"namespace": "default"} if kind.namespaced else {}),
                **obj.pop("metadata", {}),
            }
            found[kind] = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **obj}
    assert not by_name, f"not served: {sorted(by_name)}"
    return found


def pem_texts() -> dict[str, str]:
    """What has to be signed to be valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "u")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    stub = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    return {
        "CERTIFICATE": certificate.public_bytes(pem).decode().replace("\n", "\\n"),
        "CSR": base64.b64encode(asked.public_bytes(pem)).decode(),
        "STUB": base64.b64encode(stub.public_bytes(der)).decode(),
    }


def collection(kind: Kind) -> str:
    """The address of the objects of a kind, in the namespace `default` where it has one."""
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


@asynccontextmanager
async def every_kind(store: Store | None = None, *, custom: bool = False) -> AsyncIterator[ApiServer]:
    """`custom`: what is defined is served, too."""
    store = store or MemoryStore()
    server, _, definitions = await api_server(store, SystemClock(), Ids(1))  # type: ignore[arg-type]
    serving = asyncio.ensure_future(definitions.run()) if custom else None
    yield server
    if serving is not None:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    await store.close()
