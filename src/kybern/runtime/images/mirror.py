"""The images of a node's store for others to pull, whatever registry they are named after. Nothing can be pushed.

    docker.io/library/app:1      is      <mirror>/docker.io/library/app:1
    localhost:5000/app           is      <mirror>/localhost__5000/app

For runtimes that keep images of their own, and for nodes that cannot reach this machine's loopback.
"""

import base64
import hmac

from kybern.runtime.images.endpoint import API, RegistryEndpoint, told
from kybern.runtime.images.sources import PORT_MARK, USER
from kybern.web.http import Request, Response


class MirrorEndpoint(RegistryEndpoint):
    """A handler for `web.server`. With a password, only for who knows it."""

    password = ""

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return told(405, "UNSUPPORTED", "the operation is unsupported")
        if self.password and not hmac.compare_digest(request.headers.get("authorization", ""), basic(self.password)):
            refused = told(401, "UNAUTHORIZED", "authentication required")
            return Response(401, {**API, "WWW-Authenticate": 'Basic realm="kybern"'}, refused.body)
        return await super().__call__(request)

    def _whole(self, request: Request, name: str) -> str:
        domain, _, path = name.partition("/")
        return f"{domain.replace(PORT_MARK, ':')}/{path}"


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
