"""Authentication and authorization put together: what an API server needs of both, from its keys, objects and clock."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.x509 import Certificate

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.rbac_v1 import PolicyRule
from kybern.apiserver.auth.authorizers import Authorizers, Member
from kybern.apiserver.auth.bearer import BearerAuthenticator, RemoteTokens, RemoteTokenSource, TokenSource
from kybern.apiserver.auth.certificates import CertificateAuthenticator
from kybern.apiserver.auth.chain import Chain, anywhere
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.auth.issuer import DEFAULT_ISSUER, TokenIssuer
from kybern.apiserver.auth.keys import Keys
from kybern.apiserver.auth.legacy_tokens import BootstrapTokens, SecretTokens
from kybern.apiserver.auth.legacy_use import LegacyTokenUse
from kybern.apiserver.auth.node import node_authorizer
from kybern.apiserver.auth.oidc import IssuerDocuments
from kybern.apiserver.auth.rbac import Rbac, following
from kybern.apiserver.auth.request_header import FrontProxy, RequestHeaderAuthenticator, is_of
from kybern.apiserver.auth.reviews import Reviews
from kybern.apiserver.auth.token_requests import ADDRESS, TokenRequests
from kybern.apiserver.auth.tokens import ServiceAccountTokens
from kybern.apiserver.connect import Creator
from kybern.apiserver.request import Attributes, Authenticator, Decision, Objects, RemoteAuthorizer

Order = Sequence[str | RemoteAuthorizer]
"""Who is asked whether somebody may do something, and in which order; ours by name."""

OURS: Order = ("Node", "RBAC")


class Always:
    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def decide(self, attributes: Attributes) -> Decision:
        return self.decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    authenticate: Chain
    impersonation: Impersonation
    authorizer: Authorizers
    use_authorizers: Callable[[Order], None]
    """From the next decision on."""
    use_remote_tokens: Callable[[Iterable[RemoteTokenSource]], None]
    """From the next token on."""
    rbac: Rbac
    issuer: TokenIssuer
    documents: IssuerDocuments
    legacy_use: LegacyTokenUse
    """Runs beside the server."""
    creators: Mapping[str, Creator]
    """Reviews and token requests, by address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Whom else is believed: further tokens, a front proxy, other servers that are asked."""

    tokens: tuple[TokenSource, ...] = ()
    remote_tokens: tuple[RemoteTokenSource, ...] = ()
    authorizers: Order = OURS
    front_proxy: FrontProxy | None = None
    client_authorities: tuple[Certificate, ...] = ()
    """The clients' own; needed to tell them from the front proxy's."""
    anonymous: Callable[[str], bool] = anywhere


NOTHING_OUTSIDE = Outside()


def certificates(clock: Clock, outside: Outside) -> tuple[Authenticator, ...]:
    """TLS believes the clients' authorities and the front proxy's; here each is believed for what it is."""
    if outside.front_proxy is None:
        return (CertificateAuthenticator(clock),)
    own = outside.client_authorities
    return (
        RequestHeaderAuthenticator(outside.front_proxy, clock),
        CertificateAuthenticator(clock, refused=lambda peer: not is_of(peer, own)),
    )


def auth(
    *,
    objects: Objects,
    keys: Keys,
    clock: Clock,
    ids: Ids,
    node_rules: tuple[PolicyRule, ...],
    issuer: str = DEFAULT_ISSUER,
    outside: Outside = NOTHING_OUTSIDE,
) -> Auth:
    """`node_rules` are the Node authorizer's, `bootstrap.rbac.node_rules()`."""
    rbac = following(objects)
    ours: Mapping[str, Member] = {
        "Node": node_authorizer(objects, node_rules),
        "RBAC": rbac,
        "AlwaysAllow": Always(Decision(True)),
        "AlwaysDeny": Always(Decision(False, "Everything is forbidden.")),
    }

    authorizer = Authorizers(())

    def use_authorizers(order: Order) -> None:
        authorizer.use([ours[one] if isinstance(one, str) else one for one in order])

    use_authorizers(outside.authorizers)
    token_issuer = TokenIssuer(keys=keys, clock=clock, ids=ids, issuer=issuer, audiences=(issuer,))
    accounts = ServiceAccountTokens(keys=keys, objects=objects, clock=clock, issuers=(issuer,), audiences=(issuer,))
    legacy_use = LegacyTokenUse(objects, clock)
    in_secrets = (SecretTokens(keys, objects, legacy_use.note), BootstrapTokens(objects, clock))
    others: tuple[TokenSource, ...] = (*in_secrets, *outside.tokens)
    remote_tokens = RemoteTokens(outside.remote_tokens)
    reviews = Reviews(authorizer, rbac, accounts, others, remote_tokens)
    return Auth(
        authenticate=Chain(
            (*certificates(clock, outside), BearerAuthenticator((accounts, *others), remote_tokens)),
            outside.anonymous,
        ),
        impersonation=Impersonation(authorizer),
        authorizer=authorizer,
        use_authorizers=use_authorizers,
        use_remote_tokens=remote_tokens.use,
        rbac=rbac,
        issuer=token_issuer,
        documents=IssuerDocuments(token_issuer),
        legacy_use=legacy_use,
        creators={**reviews.creators(), ADDRESS: TokenRequests(objects, token_issuer).create},
    )
