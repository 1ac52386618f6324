"""Rules of extension files about what is written: called in the server itself, on typed objects, in the order declared.

What a rule raises besides `Refused` is its fault, not the client's: the request fails, and the traceback is in the log.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from kybern.api.errors import ApiError, InternalError
from kybern.apiserver.admission.matching.versioned import IDENTITY
from kybern.apiserver.admission.plugin import Inputs, Plugin, refused
from kybern.apiserver.request import Admission
from kybern.extensions.rules import AdmissionRule, Refused, Request

log = logging.getLogger(__name__)


class ExtensionRules(Plugin):
    name = "Extensions"

    def __init__(self, inputs: Inputs, rules: Callable[[], Sequence[AdmissionRule]]) -> None:
        super().__init__(inputs)
        self.rules = rules

    async def admit(self, admission: Admission) -> None:
        for rule in self.rules():
            if rule.mutates and concerns(rule, admission):
                made = asked(rule, admission)
                if type(made) is not type(admission.object):
                    raise fault(
                        rule, TypeError(f"it returned {type(made).__name__}, not a {type(admission.object).__name__}")
                    )
                if any(getattr(made.metadata, key) != getattr(admission.object.metadata, key) for key in IDENTITY):
                    raise fault(rule, ValueError("it made another object: name, namespace and uid must stay"))
                admission.object = admission.resource.default(made)

    async def validate(self, admission: Admission) -> None:
        for rule in self.rules():
            if not rule.mutates and concerns(rule, admission):
                asked(rule, admission)


def concerns(rule: AdmissionRule, admission: Admission) -> bool:
    about = admission.object if admission.operation != "DELETE" else admission.old
    return (
        admission.operation in rule.operations
        and (
            admission.resource.kind.group_resource == rule.kind and about is not None
            if isinstance(rule.kind, str)
            else isinstance(about, rule.kind)
        )
        and not admission.internal
        and not admission.subresource
    )


def asked(rule: AdmissionRule, admission: Admission) -> Any:
    request = Request(
        user=admission.user.name,
        groups=admission.user.groups,
        operation=admission.operation,
        namespace=admission.namespace,
        name=admission.name,
        dry_run=admission.dry_run,
        old=admission.old,
    )
    about = admission.object if admission.operation != "DELETE" else admission.old
    try:
        return rule.ask(about, request)
    except Refused as error:
        raise refused(admission, str(error)) from None
    except ApiError:
        raise
    except Exception as error:
        log.exception("an extension's rule failed")
        raise fault(rule, error) from error


def fault(rule: AdmissionRule, error: Exception) -> InternalError:
    where = f"{rule.function.__name__} in {rule.function.__code__.co_filename}"
    return InternalError(f"Internal error occurred: extension {where} failed: {type(error).__name__}: {error}")
