"""What `docker login` or `podman login` has kept for a registry: the file that all such tools read."""

import base64
import binascii
import json
import os
from pathlib import Path

from kybern.runtime.cri import AuthConfig
from kybern.runtime.images.reference import DEFAULT_DOMAIN, parse

HUB = "https://index.docker.io/v1/"  # the name that Docker Hub has in these files


def login_for(name: str, given: str) -> AuthConfig:
    """`given` is `user:password`. RuntimeFault when the image's name is none."""
    if given:
        user, _, password = given.partition(":")
        return AuthConfig(username=user, password=password)
    domain = parse(name).domain
    wanted = (HUB, domain) if domain == DEFAULT_DOMAIN else (domain, f"https://{domain}", f"https://{domain}/v1/")
    for path in files():
        found = _in_file(path, wanted)
        if found is not None:
            return found
    return AuthConfig()


def files() -> list[Path]:
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    podman = Path(os.environ.get("REGISTRY_AUTH_FILE") or f"/run/containers/{os.getuid()}/auth.json")
    return [docker, podman]


def _in_file(path: Path, wanted: tuple[str, ...]) -> AuthConfig | None:
    try:
        auths = json.loads(path.read_bytes())["auths"]
        entry = next((auths[name] for name in wanted if name in auths), None)
        if entry is None:
            return None
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        return AuthConfig(username=user, password=password, identity_token=entry.get("identitytoken", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None
