"""One run of the command: the server that the kubeconfig names, and requests to it in JSON."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from kybern.cli.kubectl.discovery import Discovery, Resource
from kybern.client.kubeconfig import Context, load
from kybern.web.client import Client
from kybern.web.http import Request, Response
from kybern.web.tls import client_context

FIELD_MANAGER = "kubectl"
ANSWER_BYTES_MAX = 512 * 1024 * 1024


class CommandFailed(Exception):
    """The message is what the user is told; nothing else is printed."""


class ServerRefused(CommandFailed):
    """The server answered with a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"Error from server ({reason}): {message}" if reason else f"Error from server: {message}")
        self.code = code
        self.reason = reason


class Session:
    def __init__(self, client: Client, context: Context, namespace: str) -> None:
        self.client = client
        self.context = context
        self.namespace = namespace or context.namespace
        self.discovery = Discovery(self.json)

    async def send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """The answer when it is a success; ServerRefused otherwise."""
        headers = {"accept": accept, "user-agent": "kybern-kubectl"}
        content = b""
        if body is not None:
            headers["content-type"] = content_type
            content = json.dumps(body).encode()
        response = await self.client.send(Request(method, path, query_of(params or {}), headers, content))
        if response.status >= 400:
            raise refused(response.status, await response.read())
        return response

    async def json(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None, **options: str
    ) -> Any:
        response = await self.send(method, path, params, body, **options)
        return json.loads(await response.read())

    def path(self, resource: Resource, name: str = "", *, namespace: str | None = None, subresource: str = "") -> str:
        """`namespace` counts for namespaced resources only; `""` means all of them."""
        parts = [resource.prefix]
        within = self.namespace if namespace is None else namespace
        if resource.namespaced and within:
            parts += ["namespaces", quote(within, safe="")]
        parts += [resource.plural]
        parts += [quote(part, safe=":") for part in (name, subresource) if part]
        return "/".join(parts)


def query_of(params: Mapping[str, Any]) -> str:
    """Without the parameters that are empty; a list is repeated."""
    return urlencode(
        {name: value for name, value in params.items() if value not in ("", None, False)}, doseq=True
    ).replace("True", "true")


def refused(status: int, body: bytes) -> ServerRefused:
    try:
        answer = json.loads(body)
        return ServerRefused(status, str(answer.get("reason") or ""), str(answer.get("message") or "unknown"))
    except (ValueError, AttributeError):
        return ServerRefused(status, "", body.decode("utf-8", "replace").strip() or f"HTTP status {status}")


@asynccontextmanager
async def open_session(context_name: str, namespace: str, kubeconfig: Path | None) -> AsyncIterator[Session]:
    context = load(context_name, [kubeconfig] if kubeconfig else None)
    tls = None
    if context.server.startswith("https:"):
        tls = client_context(ca=context.ca, certificate=context.certificate, key=context.key, verify=context.verify)
    headers = {"authorization": authorization(context)} if authorization(context) else {}
    async with Client(
        context.server, ssl=tls, server_hostname=context.tls_server_name or None, headers=headers
    ) as client:
        yield Session(client, context, namespace)


def authorization(context: Context) -> str:
    if context.token:
        return f"Bearer {context.token}"
    if context.username:
        return "Basic " + base64.b64encode(f"{context.username}:{context.password}".encode()).decode()
    return ""
