"""serviceaccounts: who a pod is."""

from kybern.api.core_v1 import ServiceAccount
from kybern.registry.columns import AGE, NAME
from kybern.registry.parts import TOKEN_REQUEST, kind_of
from kybern.registry.resource import Column, Resource, Subresource

SERVICE_ACCOUNTS = Resource(
    kind=kind_of(ServiceAccount),
    short_names=("sa",),
    subresources=(Subresource(name="token", kind=TOKEN_REQUEST, verbs=("post",)),),
    columns=(NAME, Column("Secrets", lambda account, now: len(account.secrets or ()), type="string"), AGE),
)
