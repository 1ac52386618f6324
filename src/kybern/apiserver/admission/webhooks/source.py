"""The webhooks that there are, in the order in which they are asked: by their configuration's name, then as listed.

The first request after a change sees it. Conditions are compiled once, and remembered.
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
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs, refused
from kybern.apiserver.request import Admission

Configuration = type[MutatingWebhookConfiguration] | type[ValidatingWebhookConfiguration]


@dataclass(frozen=True, slots=True)
class Hook:
    webhook: Any
    configuration: str
    index: int

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
        yield Hook(webhook, configuration.metadata.name or "", index)


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

    async def concerned(self, hook: Hook, admission: Admission) -> Versioned | None:
        """The request as this hook is to see it; None where it is not to."""
        webhook = hook.webhook
        versioned = await self.matcher.match(webhook, webhook.rules or (), admission)
        if versioned is None or not webhook.match_conditions:
            return versioned
        from kybern.apiserver.admission.matching.conditions import (
            of_hook_hold,  # with the engine, where somebody wants it
        )
        from kybern.registry.matchconditions import Broken

        try:
            return versioned if await of_hook_hold(webhook, versioned, self.inputs.authorizer) else None
        except Broken as error:
            if hook.fails_open:
                return None
            raise refused(admission, str(error)) from None
