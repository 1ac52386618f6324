"""Whether they may: decided on the same attributes that the router goes by."""

from dataclasses import dataclass

from kybern.apiserver.auth.denial import forbidden_request
from kybern.apiserver.request import ApiRequest, Authorizer, Layer
from kybern.web.http import Response


@dataclass(frozen=True, slots=True)
class AuthorizeLayer:
    authorizer: Authorizer
    next: Layer

    async def __call__(self, request: ApiRequest) -> Response:
        decision = self.authorizer.decide(request.attributes)
        if decision is None:
            decision = await self.authorizer.ask(request.attributes)
        if request.on_answer is not None:
            request.audit["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
            request.audit["authorization.k8s.io/reason"] = decision.reason
        if not decision.allowed:
            raise forbidden_request(request.attributes, decision.reason)
        request.authorizer = self.authorizer
        return await self.next(request)
