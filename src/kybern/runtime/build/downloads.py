"""ADD of an address: fetched into a file, held to its checksum where one was given."""

import hashlib
import os
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.images.registry import RegistryError, paced
from kybern.web.client import Client, ClientError
from kybern.web.http import Request, Response

REDIRECTS_MAX = 10
BYTES_MAX = 16 << 30
REDIRECTS = (301, 302, 303, 307, 308)
SECONDS = 60.0


async def download(url: str, directory: Path, checksum: str) -> tuple[str, str]:
    """(name of the file, its sha256)."""
    name = urlsplit(url).path.rpartition("/")[2] or "index"
    where = url
    for _ in range(REDIRECTS_MAX):
        parts = urlsplit(where)
        async with Client(f"{parts.scheme}://{parts.netloc}", response_seconds=SECONDS) as client:
            try:
                response = await client.send(Request("GET", parts.path or "/", parts.query))
                if response.status in REDIRECTS:
                    where = _next(where, response.headers.get("location", ""))
                    continue
                if response.status != 200:
                    raise DockerfileError(f"failed to load {url}: unexpected status {response.status}")
                return name, await _save(response, directory / name, url, checksum)
            except (ClientError, RegistryError, OSError) as error:
                raise DockerfileError(f"failed to load {url}: {error}") from error
    raise DockerfileError(f"failed to load {url}: stopped after {REDIRECTS_MAX} redirects")


def _next(where: str, location: str) -> str:
    found = urljoin(where, location)
    if urlsplit(found).scheme not in ("http", "https"):
        raise DockerfileError(f"{where} leads to something that is no HTTP address")
    return found


def private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


async def _save(response: Response, path: Path, url: str, checksum: str) -> str:
    hashed, size = hashlib.sha256(), 0
    with os.fdopen(private(path), "wb") as opened:
        async for piece in paced(response):
            size += len(piece)
            if size > BYTES_MAX:
                raise DockerfileError(f"failed to load {url}: larger than {BYTES_MAX} bytes")
            hashed.update(piece)
            opened.write(piece)
    found = f"sha256:{hashed.hexdigest()}"
    if checksum and checksum != found:
        raise DockerfileError(f"digest mismatch {found}: {checksum}")
    return found
