"""Another server that the API server asks or tells things, named by a kubeconfig as upstream's webhooks are."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from kybern.client.kubeconfig import load
from kybern.web.client import Client
from kybern.web.tls import client_context


def remote(path: Path) -> tuple[Client, str]:
    """A client, and the path to post to. KubeconfigError where the file is of no use."""
    context = load(paths=[path])
    url = urlsplit(context.server)
    secure = url.scheme == "https"
    tls = client_context(ca=context.ca, certificate=context.certificate, key=context.key, verify=context.verify)
    client = Client(
        urlunsplit((url.scheme, url.netloc, "", "", "")),
        ssl=tls if secure else None,
        server_hostname=context.tls_server_name or None,
        headers={"Authorization": f"Bearer {context.token}"} if context.token else {},
    )
    return client, url.path or "/"
