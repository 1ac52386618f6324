"""MutatingAdmissionWebhook: one hook after the other, each sees what the former made of the object.

When a hook has changed the object, the plugins before it and the hooks that asked for it (`reinvocationPolicy:
IfNeeded`) are called once more, and no third time. What a hook's patch makes is read, pruned and defaulted like what a
client sends, and validated after all of them.
"""

import msgspec

from kybern.aio.beside import beside
from kybern.api.admissionregistration_v1 import MutatingWebhookConfiguration
from kybern.api.errors import ApiError, InternalError
from kybern.api.patches import apply_json_patch
from kybern.api.strict import Malformed
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.admission.webhooks.call import CallFailed, ask, failed_open, failure
from kybern.apiserver.admission.webhooks.review import InvalidAnswer, patch_in
from kybern.apiserver.admission.webhooks.source import Hook, Hooks
from kybern.apiserver.options import LARGE_BYTES
from kybern.apiserver.request import PATCH_ANNOTATION, Admission, Objects


class MutatingWebhooks(Plugin):
    name = "MutatingAdmissionWebhook"

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.source = Hooks(inputs, MutatingWebhookConfiguration)

    async def admit(self, admission: Admission) -> None:
        if not self.source.hooks or self.source.matcher.is_exempt(admission):
            return
        again = admission.reinvocation.of(self.name, admission.object)
        for index, hook in enumerate(self.source.hooks):
            versioned = await self.source.concerned(hook, admission)
            if versioned is None or not again.may_call(hook.uid):
                continue
            mutated = await self.call(hook, versioned, index)
            noted(admission, hook, index, mutated=mutated)
            if mutated:
                again.changed()
            if hook.webhook.reinvocation_policy == "IfNeeded":
                again.former.add(hook.uid)
        again.left = admission.object

    async def call(self, hook: Hook, versioned: Versioned, index: int) -> bool:
        """Whether it changed the object."""
        admission = versioned.admission
        try:
            response = await ask(self.inputs, hook, versioned, may_patch=True)
            is_long = admission.is_long or len(response.patch or "") > LARGE_BYTES
            patch = await beside(lambda: patch_in(response), is_long)
        except (CallFailed, InvalidAnswer) as error:
            if not hook.fails_open:
                raise failure(hook, error) from error
            failed_open(self.inputs, admission, "mutation", admission.reinvocation.round, index, hook)
            return False
        if patch is None:
            return False
        if not versioned.changeable:
            raise InternalError(
                f'Internal error occurred: admission webhook "{hook.name}" attempted to modify the object, '
                "which is not supported for this operation"
            )
        changed, mutated = await beside(lambda: applied(hook, patch, versioned), is_long)
        if mutated:
            await change(hook, versioned, changed, self.objects)
        told = {"configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch"}
        note(admission, f"{PATCH_ANNOTATION}/round_{admission.reinvocation.round}_index_{index}", told)
        return mutated


def noted(admission: Admission, hook: Hook, index: int, *, mutated: bool) -> None:
    """For the audit log: who was asked, and whether that made a difference."""
    told = {"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated}
    note(admission, f"mutation.webhook.admission.k8s.io/round_{admission.reinvocation.round}_index_{index}", told)


def note(admission: Admission, key: str, told: dict[str, object]) -> None:
    admission.audit[key] = msgspec.json.encode(told).decode()


def applied(hook: Hook, patch: object, versioned: Versioned) -> tuple[dict[str, object], bool]:
    """The object as the patch makes it, and whether that is another."""
    try:
        found = apply_json_patch(versioned.object, patch)
    except ApiError as error:
        raise InternalError(f"Internal error occurred: {error.message}") from error
    if not isinstance(found, dict):
        raise InternalError(f'Internal error occurred: admission webhook "{hook.name}" made no object of it')
    return found, found != versioned.object


async def change(hook: Hook, versioned: Versioned, document: dict[str, object], objects: Objects) -> None:
    """What it is and whose it is, no patch may change."""
    before, name = versioned.object, f'admission webhook "{hook.name}"'
    for key in ("kind", "apiVersion"):
        if document.get(key) != before.get(key):
            raise InternalError(f"Internal error occurred: {name} changed the object's {key}")
    try:
        await versioned.change(document, objects)
    except Malformed as error:
        raise InternalError(f"Internal error occurred: {name} made an object that cannot be read: {error}") from error
