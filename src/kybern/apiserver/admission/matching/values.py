"""The values that expressions about a request ask for: its object, its old object, itself, and the cluster's authorizer."""

from collections.abc import Mapping
from typing import Any

from kybern.api.authorization_v1 import FieldSelectorAttributes, LabelSelectorAttributes
from kybern.apiserver.admission.matching.requested import request_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.auth.restrictions import fields_of, labels_of
from kybern.apiserver.request import Attributes, Authorizer, User
from kybern.cel.libraries.authz import Authorizer as CelAuthorizer
from kybern.cel.libraries.authz import Decision, ResourceCheck
from kybern.registry.expressions import REQUEST_RESOURCE


def values_of(versioned: Versioned, authorizer: Authorizer) -> "Values":
    asking = CelAuthorizer(asked_for(versioned.admission.user, authorizer))
    return Values(versioned, asking)


class Values(Mapping[str, Any]):
    """The variables' values, each worked out when an expression asks for it."""

    def __init__(self, versioned: Versioned, authorizer: CelAuthorizer) -> None:
        self.versioned = versioned
        self.authorizer = authorizer
        self.request: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        match name:
            case "object":
                return self.versioned.object
            case "oldObject":
                return self.versioned.old
            case "request":
                if self.request is None:
                    self.request = request_of(self.versioned)
                return self.request
            case "authorizer":
                return self.authorizer
            case "authorizer.requestResource":
                return request_resource(self.versioned, self.authorizer)
        raise KeyError(name)

    def __iter__(self) -> Any:
        return iter(("object", "oldObject", "request", "authorizer", REQUEST_RESOURCE))

    def __len__(self) -> int:
        return 5


def request_resource(versioned: Versioned, authorizer: CelAuthorizer) -> ResourceCheck:
    kind, admission = versioned.resource.kind, versioned.admission
    about = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    optional = {"subresource": admission.subresource, "namespace": versioned.namespace, "name": admission.name}
    return ResourceCheck(authorizer, {**about, **{key: value for key, value in optional.items() if value}})


def asked_for(user: User, authorizer: Authorizer) -> Any:
    """The question of an expression, put to the server's own authorizer."""

    def ask(verb: str, about: Mapping[str, str], account: tuple[str, str] | None) -> Decision:
        who = user
        if account is not None:
            namespace, name = account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            who = User(f"system:serviceaccount:{namespace}:{name}", groups)
        if "path" in about:
            decision = authorizer.decide(Attributes(user=who, verb=verb, path=about["path"]))
        else:
            named = {key: about.get(key, "") for key in ("group", "resource", "subresource", "namespace", "name")}
            version = about.get("version", "*")
            fields = fields_of(FieldSelectorAttributes(raw_selector=about.get("field_selector")))
            labels = labels_of(LabelSelectorAttributes(raw_selector=about.get("label_selector")))
            decision = authorizer.decide(
                Attributes(user=who, verb=verb, version=version, fields=fields, labels=labels, **named)
            )
        return Decision(decision.allowed, decision.reason)

    return ask
