"""serviceaccounts: who a pod is. Of the secrets that one names nothing but their names is kept."""

from collections.abc import Iterator

from kybern.api.core_v1 import ObjectReference, ServiceAccount
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import parts
from kybern.registry.parts import TOKEN_REQUEST, kind_of
from kybern.registry.resource import Column, Resource, Subresource

ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"


def names_alone(account: ServiceAccount) -> ServiceAccount:
    return parts(account, "secrets", lambda secret: ObjectReference(name=secret.name))


def warnings(account: ServiceAccount, old: ServiceAccount | None) -> Iterator[str]:
    before = (old.metadata.annotations or {}) if old is not None else {}
    if ENFORCE_ANNOTATION in (account.metadata.annotations or {}) and ENFORCE_ANNOTATION not in before:
        why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        yield f"metadata.annotations[{ENFORCE_ANNOTATION}]: {why}"


SERVICE_ACCOUNTS = Resource(
    kind=kind_of(ServiceAccount),
    short_names=("sa",),
    on_create=names_alone,
    on_update=lambda account, old: names_alone(account),
    warnings=warnings,
    subresources=(Subresource(name="token", kind=TOKEN_REQUEST, verbs=("post",)),),
    columns=(
        NAME,
        Column(
            "Secrets",
            lambda account, now: len(account.secrets or ()),
            type="string",
            of="core_v1.ServiceAccount.secrets",
        ),
        AGE,
    ),
)
