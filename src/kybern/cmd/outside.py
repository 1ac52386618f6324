"""Whom else the API server believes, as its options say: token files, issuers, webhooks, front proxies."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates

from kybern.aio.clock import Clock
from kybern.apiserver.auth.access_webhook import AccessWebhook
from kybern.apiserver.auth.bearer import RemoteTokenSource
from kybern.apiserver.auth.chain import anywhere
from kybern.apiserver.auth.issuer import DEFAULT_ISSUER
from kybern.apiserver.auth.jwt_issuer import JwtIssuer, JwtSettings
from kybern.apiserver.auth.request_header import FrontProxy
from kybern.apiserver.auth.setup import OURS, Auth, Order, Outside
from kybern.apiserver.auth.static_tokens import read_tokens
from kybern.apiserver.auth.token_webhook import TokenWebhook
from kybern.cmd.authentication_config import Anonymous, Configured, configuration_in, read_configuration
from kybern.cmd.authorization_config import order_in, read_order
from kybern.cmd.config import Cluster
from kybern.cmd.followed_file import FollowedFile
from kybern.cmd.remote import remote
from kybern.cmd.server_options import ServerOptions, words
from kybern.web.client import Client
from kybern.web.pki import read_pair
from kybern.web.tls import client_context


def outside(cluster: Cluster, clock: Clock) -> Outside:
    options = cluster.options
    proxies = front_proxy_ca(options)
    tokens = (read_tokens(Path(options.token_auth_file).read_text()),) if options.token_auth_file else ()
    return Outside(
        tokens=tokens,
        remote_tokens=tuple(remote_tokens(options, configured(options), clock)),
        authorizers=authorizers(options, clock),
        front_proxy=front_proxy(options, proxies) if proxies else None,
        client_authorities=client_authorities(cluster) if proxies else (),
        anonymous=anonymous_at(configured(options).anonymous),
    )


def client_authorities(cluster: Cluster) -> tuple[Certificate, ...]:
    ca = read_pair(cluster.pki, "ca")
    return tuple(load_pem_x509_certificates(ca.certificate)) if ca is not None else ()


def followed(options: ServerOptions, access: Auth, clock: Clock) -> Iterator[FollowedFile]:
    """The files that say whom to believe and to ask, for as long as the server runs."""
    if options.authorization_config:
        order = Path(options.authorization_config)
        yield FollowedFile(
            order, lambda text: access.use_authorizers(order_in(text, order, clock)), "authorization", clock
        )
    if options.authentication_config:
        believed = Path(options.authentication_config)

        def take(text: bytes) -> None:
            access.use_remote_tokens(tuple(remote_tokens(options, configuration_in(text, believed), clock)))

        yield FollowedFile(believed, take, "authentication", clock)


def remote_tokens(options: ServerOptions, configured: Configured, clock: Clock) -> Iterator[RemoteTokenSource]:
    for settings, ca in (*configured.issuers, *oidc(options)):
        connect = partial(Client, ssl=client_context(ca=ca), idle_connections_max=0)
        yield JwtIssuer(settings, connect, clock)
    if options.authentication_token_webhook_config_file:
        client, path = remote(Path(options.authentication_token_webhook_config_file))
        yield TokenWebhook(client, path, clock, (DEFAULT_ISSUER,))


def configured(options: ServerOptions) -> Configured:
    path = options.authentication_config
    return read_configuration(Path(path)) if path else Configured()


def anonymous_at(anonymous: Anonymous | None) -> Callable[[str], bool]:
    if anonymous is None:
        return anywhere
    paths = {condition.path for condition in anonymous.conditions}
    return lambda path: anonymous.enabled and (not paths or path in paths)


def oidc(options: ServerOptions) -> Iterator[tuple[JwtSettings, bytes | None]]:
    """The issuer of the flags, and its server's authority. ValueError where they make no sense."""
    if not options.oidc_issuer_url:
        return
    if options.authentication_config:
        raise ValueError("--authentication-config and --oidc-issuer-url cannot be used together")
    settings = JwtSettings(
        url=options.oidc_issuer_url,
        audiences=words(options.oidc_client_id),
        username_claim=options.oidc_username_claim,
        username_prefix=options.oidc_username_prefix or None,
        groups_claim=options.oidc_groups_claim,
        groups_prefix=options.oidc_groups_prefix,
        required_claims=dict(pair.split("=", 1) for pair in words(options.oidc_required_claim)),
        algorithms=words(options.oidc_signing_algs),
    )
    for wrong in settings.wrong():
        raise ValueError(wrong)
    yield settings, Path(options.oidc_ca_file).read_bytes() if options.oidc_ca_file else None


def authorizers(options: ServerOptions, clock: Clock) -> Order:
    """ValueError where the options make no sense."""
    if options.authorization_config:
        if options.authorization_webhook_config_file:
            raise ValueError("--authorization-config and --authorization-webhook-config-file cannot be used together")
        return read_order(Path(options.authorization_config), clock)
    if not options.authorization_webhook_config_file:
        return OURS
    client, path = remote(Path(options.authorization_webhook_config_file))
    return (*OURS, AccessWebhook(client, path, clock))


def front_proxy(options: ServerOptions, ca: bytes) -> FrontProxy:
    return FrontProxy(
        authorities=tuple(load_pem_x509_certificates(ca)), allowed_names=words(options.requestheader_allowed_names)
    )


def front_proxy_ca(options: ServerOptions) -> bytes:
    """PEM; empty where no front proxy is believed."""
    path = options.requestheader_client_ca_file
    return Path(path).read_bytes() if path else b""
