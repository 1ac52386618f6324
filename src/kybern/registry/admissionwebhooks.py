"""mutating and validating webhook configurations: whom to ask before something is stored."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.admissionregistration_v1 import (
    MutatingWebhook,
    MutatingWebhookConfiguration,
    NamedRuleWithOperations,
    RuleWithOperations,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
    WebhookClientConfig,
)
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required
from kybern.api.meta_v1 import LabelSelector
from kybern.registry.checks import label_selector, repeated
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource, is_large
from kybern.registry.webhookclients import validate_client

Webhook = MutatingWebhook | ValidatingWebhook

SIDE_EFFECTS = ("None", "NoneOnDryRun")
TIMEOUT_SECONDS_DEFAULT = 10
TIMEOUT_SECONDS_MAX = 30
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
EVERYTHING = LabelSelector()


def default(configuration: Any) -> Any:
    return parts(configuration, "webhooks", default_webhook)


def default_webhook(webhook: Any) -> Any:
    webhook = filled(
        webhook,
        failure_policy="Fail",
        match_policy="Equivalent",
        namespace_selector=EVERYTHING,
        object_selector=EVERYTHING,
        timeout_seconds=TIMEOUT_SECONDS_DEFAULT,
    )
    if isinstance(webhook, MutatingWebhook):
        webhook = filled(webhook, reinvocation_policy="Never")
    webhook = part(webhook, "client_config", default_client)
    return parts(webhook, "rules", lambda rule: filled(rule, scope="*"))


def default_client(config: WebhookClientConfig) -> WebhookClientConfig:
    return part(config, "service", lambda service: filled(service, port=443))


def validate(configuration: Any) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, webhook in enumerate(configuration.webhooks or ()):
        at = f"webhooks[{index}]"
        yield from validate_webhook(webhook, at)
        if webhook.name in seen:
            yield duplicate(f"{at}.name", webhook.name)
        seen.add(webhook.name)


def validate_webhook(webhook: Webhook, at: str) -> Iterator[FieldError]:
    yield from validate_qualified(webhook.name, f"{at}.name")
    for index, rule in enumerate(webhook.rules or ()):
        yield from validate_rule(rule, f"{at}.rules[{index}]")
    if webhook.failure_policy not in ("Fail", "Ignore"):
        yield not_supported(f"{at}.failurePolicy", webhook.failure_policy, ("Fail", "Ignore"))
    if webhook.match_policy not in ("Equivalent", "Exact"):
        yield not_supported(f"{at}.matchPolicy", webhook.match_policy, ("Equivalent", "Exact"))
    if not webhook.side_effects:
        yield required(f"{at}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}")
    elif webhook.side_effects not in SIDE_EFFECTS:
        yield not_supported(f"{at}.sideEffects", webhook.side_effects, SIDE_EFFECTS)
    seconds = webhook.timeout_seconds
    if seconds is not None and not 1 <= seconds <= TIMEOUT_SECONDS_MAX:
        why = f"the timeout value must be between 1 and {TIMEOUT_SECONDS_MAX} seconds"
        yield invalid_value(f"{at}.timeoutSeconds", seconds, why)
    yield from label_selector(webhook.namespace_selector, f"{at}.namespaceSelector")
    yield from label_selector(webhook.object_selector, f"{at}.objectSelector")
    yield from validate_client(webhook.client_config, f"{at}.clientConfig")
    if webhook.match_conditions:
        from kybern.registry import matchconditions  # the engine takes 20 ms to import, and most clusters never ask it

        yield from matchconditions.validate(webhook.match_conditions, f"{at}.matchConditions")
    if isinstance(webhook, MutatingWebhook) and webhook.reinvocation_policy not in (None, "IfNeeded", "Never"):
        yield not_supported(f"{at}.reinvocationPolicy", webhook.reinvocation_policy, ("IfNeeded", "Never"))
    yield from validate_versions(webhook.admission_review_versions, f"{at}.admissionReviewVersions")


def validate_versions(versions: tuple[str, ...], at: str) -> Iterator[FieldError]:
    """Of the reviews that a webhook understands: one of ours is among them."""
    known = ("v1", "v1beta1")
    if not versions:
        yield required(at, f"must specify one of {', '.join(known)}")
        return
    again = repeated(versions)
    for index, version in enumerate(versions):
        if index in again:
            yield invalid_value(f"{at}[{index}]", version, "duplicate version")
            continue
        for wrong in names.dns1035_label(version):
            yield invalid_value(f"{at}[{index}]", version, wrong)
    if not set(versions) & set(known):
        yield invalid_value(at, versions, f"must include at least one of {', '.join(known)}")


def validate_qualified(name: str, at: str) -> Iterator[FieldError]:
    if not name:
        yield required(at)
        return
    for wrong in names.dns1123_subdomain(name):
        yield invalid_value(at, name, wrong)
    if name.count(".") < 2:
        yield invalid_value(at, name, "should be a domain with at least three segments separated by dots")


def validate_rule(rule: RuleWithOperations | NamedRuleWithOperations, at: str) -> Iterator[FieldError]:
    for field, values in (
        ("apiGroups", rule.api_groups),
        ("apiVersions", rule.api_versions),
        ("resources", rule.resources),
    ):
        if not values:
            yield required(f"{at}.{field}")
        elif "*" in values and len(values) > 1 and field != "resources":
            yield invalid_value(f"{at}.{field}", values, "if '*' is present, must not specify other " + WORDS[field])
    for index, version in enumerate(rule.api_versions or ()):
        if not version:
            yield required(f"{at}.apiVersions[{index}]")
    yield from validate_resources(rule.resources or (), f"{at}.resources")
    if not rule.operations:
        yield required(f"{at}.operations")
    elif "*" in rule.operations and len(rule.operations) > 1:
        why = "if '*' is present, must not specify other operations"
        yield invalid_value(f"{at}.operations", rule.operations, why)
    for index, operation in enumerate(rule.operations or ()):
        if operation not in OPERATIONS:
            yield not_supported(f"{at}.operations[{index}]", operation, OPERATIONS)
    if rule.scope is not None and rule.scope not in SCOPES:
        yield not_supported(f"{at}.scope", rule.scope, SCOPES)


def validate_resources(resources: tuple[str, ...], at: str) -> Iterator[FieldError]:
    """`pods`, `pods/*`, `*/status`: none that another covers already."""
    of_resource: set[str] = set()
    of_subresource: set[str] = set()
    plain = False
    for index, text in enumerate(resources):
        here = f"{at}[{index}]"
        if not text:
            yield required(here)
            continue
        resource, slash, sub = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in of_resource:
            yield invalid_value(here, text, f"if '{resource}/*' is present, must not specify {text}")
        if sub in of_subresource:
            yield invalid_value(here, text, f"if '*/{sub}' is present, must not specify {text}")
        if sub == "*":
            of_resource.add(resource)
        if resource == "*":
            of_subresource.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        yield invalid_value(at, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        why = "if '*' is present, must not specify other resources without subresources"
        yield invalid_value(at, resources, why)


WORDS = {"apiGroups": "API groups", "apiVersions": "API versions"}


def resource(type_: type[Any]) -> Resource:
    return Resource(
        kind=kind_of(type_),
        version_needed=True,
        categories=("api-extensions",),
        default=default,
        validate=validate,
        validates_long=is_large,
        generation=lambda configuration: configuration.webhooks,
        columns=(
            NAME,
            Column(
                "Webhooks",
                lambda found, now: len(found.webhooks or ()),
                type="integer",
                description="Webhooks indicates the number of webhooks registered in this configuration",
            ),
            AGE,
        ),
    )


MUTATING_WEBHOOKS = resource(MutatingWebhookConfiguration)
VALIDATING_WEBHOOKS = resource(ValidatingWebhookConfiguration)
