"""Authentication and authorization put together: what an API server needs of both, from its keys, objects and clock."""

from collections.abc import Mapping
from dataclasses import dataclass

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.rbac_v1 import PolicyRule
from kybern.apiserver.auth.authorizers import FirstThatAllows
from kybern.apiserver.auth.bearer import BearerAuthenticator, TokenSource
from kybern.apiserver.auth.certificates import CertificateAuthenticator
from kybern.apiserver.auth.chain import Chain
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.auth.issuer import DEFAULT_ISSUER, TokenIssuer
from kybern.apiserver.auth.keys import Keys
from kybern.apiserver.auth.legacy_tokens import BootstrapTokens, SecretTokens
from kybern.apiserver.auth.node import node_authorizer
from kybern.apiserver.auth.oidc import IssuerDocuments
from kybern.apiserver.auth.rbac import Rbac, following
from kybern.apiserver.auth.reviews import Reviews
from kybern.apiserver.auth.token_requests import ADDRESS, TokenRequests
from kybern.apiserver.auth.tokens import ServiceAccountTokens
from kybern.apiserver.connect import Creator
from kybern.apiserver.request import Authorizer, Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    authenticate: Chain
    impersonation: Impersonation
    authorizer: Authorizer
    rbac: Rbac
    issuer: TokenIssuer
    documents: IssuerDocuments
    creators: Mapping[str, Creator]
    """Reviews and token requests, by address."""


def auth(
    *,
    objects: Objects,
    keys: Keys,
    clock: Clock,
    ids: Ids,
    node_rules: tuple[PolicyRule, ...],
    issuer: str = DEFAULT_ISSUER,
    tokens: tuple[TokenSource, ...] = (),
) -> Auth:
    """`node_rules` are the Node authorizer's, `bootstrap.rbac.node_rules()`; `tokens` are further sources of tokens."""
    rbac = following(objects)
    authorizer = FirstThatAllows((node_authorizer(objects, node_rules), rbac))
    token_issuer = TokenIssuer(keys=keys, clock=clock, ids=ids, issuer=issuer, audiences=(issuer,))
    accounts = ServiceAccountTokens(keys=keys, objects=objects, clock=clock, issuers=(issuer,), audiences=(issuer,))
    others: tuple[TokenSource, ...] = (SecretTokens(keys, objects), BootstrapTokens(objects, clock), *tokens)
    reviews = Reviews(authorizer, rbac, accounts, others)
    return Auth(
        authenticate=Chain((CertificateAuthenticator(clock), BearerAuthenticator((accounts, *others)))),
        impersonation=Impersonation(authorizer),
        authorizer=authorizer,
        rbac=rbac,
        issuer=token_issuer,
        documents=IssuerDocuments(token_issuer),
        creators={**reviews.creators(), ADDRESS: TokenRequests(objects, token_issuer).create},
    )
