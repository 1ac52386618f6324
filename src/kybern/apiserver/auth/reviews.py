"""Reviews: who am I, may this user do that, is this token good. Asked by kubectl, by webhooks, by kubelets.

`creators()` gives them all by address, for `ApiServer(creators=...)`. They decide with the authorizer and the token
sources that requests themselves meet, so an answer here is what would happen there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.authentication_v1 import (
    SelfSubjectReview,
    SelfSubjectReviewStatus,
    TokenReview,
    TokenReviewStatus,
    UserInfo,
)
from kybern.api.authorization_v1 import (
    LocalSubjectAccessReview,
    NonResourceAttributes,
    NonResourceRule,
    ResourceAttributes,
    ResourceRule,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
    SubjectAccessReviewStatus,
    SubjectRulesReviewStatus,
)
from kybern.api.errors import About, BadRequest, invalid
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.rbac_v1 import PolicyRule
from kybern.apiserver.auth.authorizers import Authorizers, decided
from kybern.apiserver.auth.bearer import RemoteTokenSource, TokenSource
from kybern.apiserver.auth.chain import as_authenticated
from kybern.apiserver.auth.node import node_of
from kybern.apiserver.auth.rbac import Rbac
from kybern.apiserver.auth.restrictions import fields_of, labels_of, wrong_selectors
from kybern.apiserver.auth.tokens import ServiceAccountTokens
from kybern.apiserver.connect import Creator
from kybern.apiserver.request import ApiRequest, Attributes, User

AUTHORIZATION = "authorization.k8s.io"
AUTHENTICATION = "authentication.k8s.io"


@dataclass(frozen=True, slots=True)
class Reviews:
    authorizer: Authorizers
    rbac: Rbac
    accounts: ServiceAccountTokens
    others: tuple[TokenSource, ...] = ()
    """Sources of tokens that are good for this API server only."""
    remote_tokens: Iterable[RemoteTokenSource] = ()

    def creators(self) -> Mapping[str, Creator]:
        return {
            f"subjectaccessreviews.{AUTHORIZATION}": self.subject_access,
            f"localsubjectaccessreviews.{AUTHORIZATION}": self.local_subject_access,
            f"selfsubjectaccessreviews.{AUTHORIZATION}": self.self_subject_access,
            f"selfsubjectrulesreviews.{AUTHORIZATION}": self.self_subject_rules,
            f"tokenreviews.{AUTHENTICATION}": self.token,
            f"selfsubjectreviews.{AUTHENTICATION}": self.self_subject,
        }

    async def subject_access(self, review: SubjectAccessReview, request: ApiRequest) -> SubjectAccessReview:
        refuse_wrong_spec("SubjectAccessReview", review.spec, names_subject=True)
        return replace(review, status=await self.answer(subject_of(review.spec), review.spec))

    async def local_subject_access(
        self, review: LocalSubjectAccessReview, request: ApiRequest
    ) -> LocalSubjectAccessReview:
        refuse_wrong_spec("LocalSubjectAccessReview", review.spec, names_subject=True)
        namespace = request.attributes.namespace
        asked = review.spec.resource_attributes
        if asked is None:
            raise wrong("LocalSubjectAccessReview", [required("spec.resourceAttributes", "must specify")])
        if (asked.namespace or "") != namespace:
            detail = f"must match metadata.namespace: {namespace}"
            raise wrong("LocalSubjectAccessReview", [
                invalid_value("spec.resourceAttributes.namespace", asked.namespace or "", detail)
            ])  # fmt: skip
        return replace(review, status=await self.answer(subject_of(review.spec), review.spec))

    async def self_subject_access(
        self, review: SelfSubjectAccessReview, request: ApiRequest
    ) -> SelfSubjectAccessReview:
        refuse_wrong_spec("SelfSubjectAccessReview", review.spec, names_subject=False)
        return replace(review, status=await self.answer(request.user, review.spec))

    async def answer(self, user: User, spec: Any) -> SubjectAccessReviewStatus:
        asked = attributes_of(user, spec.resource_attributes, spec.non_resource_attributes)
        decision = await decided(self.authorizer, asked)
        return SubjectAccessReviewStatus(
            allowed=decision.allowed, denied=decision.denied or None, reason=decision.reason or None
        )

    async def self_subject_rules(self, review: SelfSubjectRulesReview, request: ApiRequest) -> SelfSubjectRulesReview:
        if not review.spec.namespace:
            raise BadRequest("no namespace on request")
        rules = self.rbac.rules_for(request.user, review.spec.namespace)
        unknown = [
            *(["node authorizer"] if node_of(request.user) else []),
            *["webhook authorizer"] * self.authorizer.remote_count,
        ]
        return replace(
            review,
            status=SubjectRulesReviewStatus(
                incomplete=bool(unknown),
                evaluation_error=joined([f"{name} does not support user rule resolution" for name in unknown]) or None,
                resource_rules=tuple(resource_rule(rule) for rule in rules if rule.resources),
                non_resource_rules=tuple(
                    NonResourceRule(verbs=rule.verbs, non_resource_urls=rule.non_resource_urls)
                    for rule in rules
                    if rule.non_resource_urls
                ),
            ),
        )

    async def token(self, review: TokenReview, request: ApiRequest) -> TokenReview:
        if not review.spec.token:
            raise BadRequest("token is required for TokenReview in authentication")
        return replace(review, status=await self.token_status(review.spec.token, review.spec.audiences or ()))

    async def token_status(self, token: str, audiences: tuple[str, ...]) -> TokenReviewStatus:
        asked = audiences or self.accounts.audiences
        found = self.accounts.review(token, asked)
        if found is not None:
            return TokenReviewStatus(authenticated=True, user=info_of(found[0]), audiences=found[1])
        ours = tuple(name for name in asked if name in self.accounts.audiences)
        for source in self.others if ours else ():
            user = source(token)
            if user is not None:
                return TokenReviewStatus(authenticated=True, user=info_of(user), audiences=ours)
        for ask in self.remote_tokens if ours else ():
            user = await ask(token)
            if user is not None:
                return TokenReviewStatus(authenticated=True, user=info_of(user), audiences=ours)
        return TokenReviewStatus(error="[invalid bearer token]")

    async def self_subject(self, review: SelfSubjectReview, request: ApiRequest) -> SelfSubjectReview:
        meta = ObjectMeta(creation_timestamp=rfc3339(self.accounts.clock.wall()))
        return replace(review, metadata=meta, status=SelfSubjectReviewStatus(user_info=info_of(request.user)))


def joined(errors: list[str]) -> str:
    """As upstream prints an aggregate."""
    return errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]" if errors else ""


def subject_of(spec: Any) -> User:
    return User(spec.user or "", spec.groups or (), spec.uid or "", spec.extra or {})


def info_of(user: User) -> UserInfo:
    user = as_authenticated(user)
    return UserInfo(
        username=user.name, uid=user.uid or None, groups=user.groups or None, extra=dict(user.extra) or None
    )


def attributes_of(user: User, resource: ResourceAttributes | None, path: NonResourceAttributes | None) -> Attributes:
    if resource is not None:
        return Attributes(
            user=user,
            verb=resource.verb or "",
            group=resource.group or "",
            version=resource.version or "",
            resource=resource.resource or "*",
            subresource=resource.subresource or "",
            namespace=resource.namespace or "",
            name=resource.name or "",
            fields=fields_of(resource.field_selector),
            labels=labels_of(resource.label_selector),
        )
    asked = path or NonResourceAttributes()
    return Attributes(user=user, verb=asked.verb or "", path=asked.path or "")


def resource_rule(rule: PolicyRule) -> ResourceRule:
    return ResourceRule(
        verbs=rule.verbs, api_groups=rule.api_groups, resources=rule.resources, resource_names=rule.resource_names
    )


def refuse_wrong_spec(kind: str, spec: Any, *, names_subject: bool) -> None:
    errors: list[FieldError] = []
    if spec.resource_attributes is not None and spec.non_resource_attributes is not None:
        errors.append(
            invalid_value(
                "spec.nonResourceAttributes",
                "nonResourceAttributes",
                "cannot be specified in combination with resourceAttributes",
            )
        )
    if spec.resource_attributes is None and spec.non_resource_attributes is None:
        errors.append(
            invalid_value(
                "spec.resourceAttributes",
                "resourceAttributes",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        )
    if spec.resource_attributes is not None:
        errors += wrong_selectors(spec.resource_attributes, "spec.resourceAttributes")
    if names_subject and not spec.user and not spec.groups:
        errors.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    if errors:
        raise wrong(kind, errors)


def wrong(kind: str, errors: list[FieldError]) -> Exception:
    return invalid(About(group=AUTHORIZATION, kind=kind), errors)
