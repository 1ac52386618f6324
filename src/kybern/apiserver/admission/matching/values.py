"""The values that expressions about a request ask for: its object, its old object, itself, and the cluster's authorizer."""

from collections.abc import Mapping
from typing import Any

from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.requested import request_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.cel.libraries.authz import Authorizer as CelAuthorizer
from kybern.cel.libraries.authz import ResourceCheck
from kybern.registry.expressions import REQUEST_RESOURCE


def values_of(versioned: Versioned, asking: Asking) -> "Values":
    return Values(versioned, asking.cel_authorizer())


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
