"""ValidatingAdmissionWebhook: all hooks at once, on the object as it will be stored. Each that denies is heard."""

import asyncio

from msgspec.structs import replace

from kybern.api.admissionregistration_v1 import ValidatingWebhookConfiguration
from kybern.api.errors import ApiError
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs, Plugin, joined
from kybern.apiserver.admission.webhooks.call import CallFailed, ask, failed_open, failure
from kybern.apiserver.admission.webhooks.review import Denied
from kybern.apiserver.admission.webhooks.source import Hook, Hooks
from kybern.apiserver.request import Admission


class ValidatingWebhooks(Plugin):
    name = "ValidatingAdmissionWebhook"

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.source = Hooks(inputs, ValidatingWebhookConfiguration)

    async def validate(self, admission: Admission) -> None:
        if not self.source.hooks or self.source.matcher.is_exempt(admission):
            return
        concerned = [
            (hook, versioned, index)
            for index, hook in enumerate(self.source.hooks)
            if (versioned := await self.source.concerned(hook, admission)) is not None
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.refusal(*each)) for each in concerned]
        refusals = [refusal for task in tasks if (refusal := task.result()) is not None]
        if refusals:
            raise together(refusals)

    async def refusal(self, hook: Hook, versioned: Versioned, index: int) -> ApiError | None:
        try:
            await ask(self.inputs, hook, versioned, may_patch=False)
        except CallFailed as error:
            if not hook.fails_open:
                return failure(hook, error)
            failed_open(self.inputs, versioned.admission, "validating", 0, index, hook)
        except ApiError as error:
            return error
        return None


def together(refusals: list[ApiError]) -> ApiError:
    """One answer: of the first's kind, with the words of all."""
    first = refusals[0]
    if len(refusals) == 1:
        return first
    message = joined(list(dict.fromkeys(refusal.message for refusal in refusals)))
    return Denied(replace(first.status(), message=message))
