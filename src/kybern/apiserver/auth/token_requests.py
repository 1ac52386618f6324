"""TokenRequest: a token for a service account, asked for at `serviceaccounts/NAME/token`.

The token is for the audiences asked for (this API server when none), lives between ten minutes and a maximum, and is
bound to a Pod, Node or Secret of the request's choice. An agent of a node gets tokens only for pods on its node, and
bound to them: NodeRestriction sees to that.
"""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestStatus
from kybern.api.core_v1 import Node, Pod, Secret, ServiceAccount
from kybern.api.errors import About, BadRequest, Conflict, invalid, not_found
from kybern.api.invalid import FieldError, invalid_value
from kybern.apiserver.auth.issuer import TokenIssuer
from kybern.apiserver.request import ApiRequest, Objects

DEFAULT_SECONDS = 3600
SECONDS_MIN = 600
SECONDS_MAX = 1 << 32  # what the API takes; upstream's figure
SECONDS_ISSUED_MAX = 365 * 24 * 3600  # what is issued at most, whoever asks for more
ADDRESS = "serviceaccounts/token"
BINDABLE: dict[tuple[str, str], tuple[type[Any], str]] = {
    ("v1", "Pod"): (Pod, "pods"),
    ("v1", "Secret"): (Secret, "secrets"),
    ("v1", "Node"): (Node, "nodes"),
}


@dataclass(frozen=True, slots=True)
class TokenRequests:
    objects: Objects
    issuer: TokenIssuer

    async def create(self, asked: TokenRequest, request: ApiRequest) -> TokenRequest:
        namespace, name = request.attributes.namespace, request.attributes.name
        account = self.objects.get(ServiceAccount, name, namespace)
        if account is None:
            raise not_found(About(resource="serviceaccounts", name=name))
        seconds = DEFAULT_SECONDS if asked.spec.expiration_seconds is None else asked.spec.expiration_seconds
        refuse_wrong_duration(seconds)
        bound = self.bound(asked.spec.bound_object_ref, account)
        audiences = asked.spec.audiences or self.issuer.audiences
        issued = self.issuer.issue(account, seconds=min(seconds, SECONDS_ISSUED_MAX), audiences=audiences, **bound)
        return replace(
            asked,
            metadata=replace(asked.metadata, name=name, namespace=namespace),
            spec=replace(asked.spec, audiences=audiences, expiration_seconds=seconds),
            status=TokenRequestStatus(token=issued.token, expiration_timestamp=rfc3339(issued.expires)),
        )

    def bound(self, reference: BoundObjectReference | None, account: ServiceAccount) -> dict[str, Any]:
        """What the token is bound to, as the issuer takes it."""
        if reference is None:
            return {}
        kind = (reference.api_version or "", reference.kind or "")
        if kind not in BINDABLE:
            raise BadRequest(f"cannot bind token for serviceaccount {name_of(account)} to object with kind {kind[1]}")
        wanted, plural = BINDABLE[kind]
        namespace = "" if wanted is Node else account.metadata.namespace or ""
        found = self.objects.get(wanted, reference.name or "", namespace)
        about = About(resource=plural, name=reference.name or "")
        if found is None:
            raise not_found(about)
        if reference.uid and found.metadata.uid != reference.uid:
            raise Conflict(
                f'Operation cannot be fulfilled on {plural} "{reference.name}": the UID in the bound object reference '
                f"({reference.uid}) does not match the UID in record. The object might have been deleted and then "
                "recreated",
                about,
            )
        if isinstance(found, Pod) and (found.spec.service_account_name or "") != account.metadata.name:
            raise BadRequest(
                f"cannot bind token for serviceaccount {name_of(account)} to pod running with different serviceaccount "
                "name."
            )
        return {kind[1].lower(): found} | self.node_of(found)

    def node_of(self, found: Any) -> dict[str, Any]:
        """A token bound to a pod also says on which node that is."""
        name = found.spec.node_name if isinstance(found, Pod) else None
        node = self.objects.get(Node, name) if name else None
        return {"node": node} if node else {}


def refuse_wrong_duration(seconds: int) -> None:
    errors: list[FieldError] = []
    if seconds < SECONDS_MIN:
        errors.append(
            invalid_value("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    if seconds > SECONDS_MAX:
        errors.append(
            invalid_value("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if errors:
        raise invalid(About(group="authentication.k8s.io", kind="TokenRequest"), errors)


def name_of(account: ServiceAccount) -> str:
    return f'"{account.metadata.name}"'
