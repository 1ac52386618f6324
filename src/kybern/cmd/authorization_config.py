"""AuthorizationConfiguration: who is asked whether somebody may do something, in which order, and webhooks about what."""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.aio.clock import Clock
from kybern.api import names, yaml
from kybern.apiserver.auth.access_webhook import AccessSettings, AccessWebhook
from kybern.apiserver.auth.remote import NoAnswer
from kybern.apiserver.auth.setup import Order
from kybern.cmd.authentication_config import VERSIONS, Strict
from kybern.cmd.remote import remote

OURS = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
TIMEOUT_SECONDS_MAX = 30.0


class Connection(Strict, frozen=True):
    type: str
    kube_config_file: str = ""


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    expression: str = ""


class Webhook(Strict, frozen=True):
    timeout: str
    failure_policy: str
    connection_info: Connection
    subject_access_review_version: str
    match_condition_subject_access_review_version: str = "v1"
    authorized_ttl: str = field(default="5m", name="authorizedTTL")
    unauthorized_ttl: str = field(default="30s", name="unauthorizedTTL")
    cache_authorized_requests: bool = True
    cache_unauthorized_requests: bool = True
    match_conditions: tuple[Condition, ...] = ()


class Member(Strict, frozen=True):
    type: str
    name: str
    webhook: Webhook | None = None


class AuthorizationConfiguration(Strict, frozen=True):
    api_version: str
    kind: str
    authorizers: tuple[Member, ...] = ()


def read_order(path: Path, clock: Clock) -> Order:
    """ValueError or KubeconfigError where it makes no sense."""
    return order_in(path.read_bytes(), path, clock)


def order_in(text: bytes, path: Path, clock: Clock) -> Order:
    try:
        found = msgspec.convert(yaml.parse(text)[0], AuthorizationConfiguration)
    except (yaml.NotYaml, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None
    if found.kind != "AuthorizationConfiguration" or found.api_version not in VERSIONS:
        raise ValueError(f"{path}: no AuthorizationConfiguration, but {found.kind} of {found.api_version}")
    for wrong in wrong_with(found.authorizers):
        raise ValueError(f"{path}: {wrong}")
    return tuple(
        one.type if one.webhook is None else asked(one.name, one.webhook, f"{path}: authorizers[{index}]", clock)
        for index, one in enumerate(found.authorizers)
    )


def wrong_with(members: tuple[Member, ...]) -> Iterator[str]:
    if not members:
        yield "authorizers: Required value: at least one authorization mode must be defined"
    for index, one in enumerate(members):
        at, before = f"authorizers[{index}]", members[:index]
        if one.type not in (*OURS, "Webhook"):
            yield f"{at}.type: Unsupported value: {one.type!r}: supported are {', '.join((*OURS, 'Webhook'))}"
        if one.type != "Webhook" and any(other.type == one.type for other in before):
            yield f"{at}.type: Duplicate value: {one.type!r}"
        if any(other.name == one.name for other in before):
            yield f"{at}.name: Duplicate value: {one.name!r}"
        for wrong in names.dns1123_subdomain(one.name):
            yield f"{at}.name: Invalid value: {one.name!r}: {wrong}"
        if (one.type == "Webhook") != (one.webhook is not None):
            yield f"{at}.webhook: is for the type Webhook, which has to have it"
        if one.webhook is not None:
            yield from wrong_with_webhook(one.webhook, f"{at}.webhook")


def wrong_with_webhook(webhook: Webhook, at: str) -> Iterator[str]:
    times = {
        "timeout": webhook.timeout,
        "authorizedTTL": webhook.authorized_ttl,
        "unauthorizedTTL": webhook.unauthorized_ttl,
    }
    for name, text in times.items():
        if seconds(text) <= 0:
            yield f"{at}.{name}: Invalid value: {text!r}: must be a duration greater than 0s"
    if seconds(webhook.timeout) > TIMEOUT_SECONDS_MAX:
        yield f"{at}.timeout: Invalid value: {webhook.timeout!r}: must be less than or equal to 30s"
    if webhook.failure_policy not in ("NoOpinion", "Deny"):
        yield f"{at}.failurePolicy: Unsupported value: {webhook.failure_policy!r}: supported are Deny, NoOpinion"
    if webhook.subject_access_review_version != "v1":
        yield f"{at}.subjectAccessReviewVersion: Unsupported value: supported is v1"
    if webhook.match_condition_subject_access_review_version != "v1":
        yield f"{at}.matchConditionSubjectAccessReviewVersion: Unsupported value: supported is v1"
    if webhook.connection_info.type != "KubeConfigFile" or not webhook.connection_info.kube_config_file:
        yield f"{at}.connectionInfo: has the type KubeConfigFile, and names one"


def seconds(text: str) -> float:
    """Of `1m30s`; 0 where it is no such duration."""
    found = DURATION.fullmatch(text)
    hours, minutes, rest = found.groups() if found else (0, 0, 0)
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)


def asked(name: str, webhook: Webhook, at: str, clock: Clock) -> AccessWebhook:
    client, path = remote(Path(webhook.connection_info.kube_config_file))
    settings = AccessSettings(
        name=name,
        allowed_seconds=seconds(webhook.authorized_ttl) if webhook.cache_authorized_requests else 0.0,
        refused_seconds=seconds(webhook.unauthorized_ttl) if webhook.cache_unauthorized_requests else 0.0,
        timeout_seconds=seconds(webhook.timeout),
        failure_denies=webhook.failure_policy == "Deny",
        concerns=concerning(webhook, f"{at}.webhook.matchConditions") if webhook.match_conditions else None,
    )
    return AccessWebhook(client, path, clock, settings)


def concerning(webhook: Webhook, at: str) -> Callable[[dict[str, Any]], Awaitable[bool]]:
    """ValueError where an expression is wrong. The engine is imported by clusters that have expressions only."""
    from kybern.api.admissionregistration_v1 import MatchCondition
    from kybern.cel.pace import paced
    from kybern.registry.expressions import ACCESS_ENVIRONMENT
    from kybern.registry.matchconditions import CONDITIONS_MAX, Broken, compiled_in, hold

    conditions = [
        compiled_in(ACCESS_ENVIRONMENT, MatchCondition(name="", expression=one.expression))
        for one in webhook.match_conditions
    ]
    if len(conditions) > CONDITIONS_MAX:
        raise ValueError(f"{at}: Too many: {len(conditions)}: must have at most {CONDITIONS_MAX} items")
    for index, condition in enumerate(conditions):
        if condition.program is None:
            raise ValueError(f"{at}[{index}].expression: Invalid value: {condition.wrong}")

    async def concerns(spec: dict[str, Any]) -> bool:
        try:
            return await paced(lambda at_once: hold(conditions, {"request": spec}, at_once))
        except Broken as error:
            raise NoAnswer(str(error)) from None

    return concerns
