"""The webhooks that there are, in the order in which they are asked: by their configuration's name, then as listed.

Conditions are compiled when a configuration is written; the first request after a change sees it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kybern.api.admissionregistration_v1 import (
    MutatingWebhook,
    MutatingWebhookConfiguration,
    ValidatingWebhook,
    ValidatingWebhookConfiguration,
)
from kybern.apiserver.admission.matching.conditions import Broken, hold
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.matching.values import values_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs, refused
from kybern.apiserver.request import Admission
from kybern.registry.matchconditions import Condition, compiled

Configuration = type[MutatingWebhookConfiguration] | type[ValidatingWebhookConfiguration]


@dataclass(frozen=True, slots=True)
class Hook:
    webhook: Any
    configuration: str
    index: int
    conditions: tuple[Condition, ...]

    @property
    def name(self) -> str:
        found: MutatingWebhook | ValidatingWebhook = self.webhook
        return found.name

    @property
    def uid(self) -> str:
        return f"{self.configuration}/{self.name}/{self.index}"

    @property
    def fails_open(self) -> bool:
        return bool(self.webhook.failure_policy == "Ignore")


def hooks_of(configuration: Any) -> Iterator[Hook]:
    for index, webhook in enumerate(configuration.webhooks or ()):
        conditions = tuple(map(compiled, webhook.match_conditions or ()))
        yield Hook(webhook, configuration.metadata.name or "", index, conditions)


class Hooks:
    def __init__(self, inputs: Inputs, type_: Configuration) -> None:
        self.type = type_
        self.inputs = inputs
        self.matcher = Matcher(inputs.objects)
        self.hooks: tuple[Hook, ...] = ()
        inputs.objects.on_change(type_, lambda old, new: self.load())
        self.load()

    def load(self) -> None:
        configurations = sorted(self.inputs.objects.list(self.type), key=lambda each: each.metadata.name or "")
        self.hooks = tuple(hook for configuration in configurations for hook in hooks_of(configuration))

    def concerned(self, hook: Hook, admission: Admission) -> Versioned | None:
        """The request as this hook is to see it; None where it is not to."""
        webhook = hook.webhook
        versioned = self.matcher.match(webhook, webhook.rules or (), admission)
        if versioned is None or not hook.conditions:
            return versioned
        try:
            return versioned if hold(hook.conditions, values_of(versioned, self.inputs.authorizer)) else None
        except Broken as error:
            if hook.fails_open:
                return None
            raise refused(admission, str(error)) from None
