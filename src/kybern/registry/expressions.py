"""What expressions about a request may ask, in webhooks' match conditions and in policies: names and types.

`request` and `namespaceObject` have types, so that a misspelt field is refused when it is written; the objects are of any
kind. How the values come about is the API server's.
"""

from kybern.cel import BOOL, DYN, STRING, Environment, Field, ObjectType, Type, list_of, map_of, object_of
from kybern.cel.libraries.authz import AUTHORIZER_TYPE, RESOURCE_TYPE


def struct(name: str, /, **fields: Type) -> ObjectType:
    found = {key: Field(type_, key) for key, type_ in fields.items()}
    return object_of(name, lambda: found)


KIND = struct("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
RESOURCE = struct("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
USER = struct(
    "kubernetes.UserInfo", username=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING))
)
REQUEST = struct(
    "kubernetes.AdmissionRequest",
    kind=KIND, resource=RESOURCE, subResource=STRING, requestKind=KIND, requestResource=RESOURCE, requestSubResource=STRING,
    name=STRING, namespace=STRING, operation=STRING, userInfo=USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
NAMESPACE = struct(
    "kubernetes.Namespace",
    metadata=struct(
        "kubernetes.NamespaceMetadata",
        name=STRING, generateName=STRING, namespace=STRING, labels=map_of(STRING, STRING),
        annotations=map_of(STRING, STRING), UID=STRING, creationTimestamp=STRING, deletionTimestamp=STRING,
        deletionGracePeriodSeconds=DYN, generation=DYN, resourceVersion=STRING, finalizers=list_of(STRING),
    ),
    spec=struct("kubernetes.NamespaceSpec", finalizers=list_of(STRING)),
    status=struct("kubernetes.NamespaceStatus", phase=STRING),
)  # fmt: skip
REQUEST_RESOURCE = "authorizer.requestResource"

ABOUT_THE_REQUEST: dict[str, Type] = {"object": DYN, "oldObject": DYN, "request": REQUEST}
AUTHORIZERS: dict[str, Type] = {"authorizer": AUTHORIZER_TYPE, REQUEST_RESOURCE: RESOURCE_TYPE}

RESTRICTION = struct(
    "kubernetes.SelectorAttributes",
    rawSelector=STRING,
    requirements=list_of(
        struct("kubernetes.SelectorRequirement", key=STRING, operator=STRING, values=list_of(STRING))
    ),
)  # fmt: skip
ACCESS = struct(
    "kubernetes.SubjectAccessReviewSpec",
    user=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)),
    resourceAttributes=struct(
        "kubernetes.ResourceAttributes",
        namespace=STRING, verb=STRING, group=STRING, version=STRING, resource=STRING, subresource=STRING, name=STRING,
        fieldSelector=RESTRICTION, labelSelector=RESTRICTION,
    ),
    nonResourceAttributes=struct("kubernetes.NonResourceAttributes", path=STRING, verb=STRING),
)  # fmt: skip

ACCESS_ENVIRONMENT = Environment({"request": ACCESS})
"""For an authorizer that is asked about some requests only."""

HOOK_ENVIRONMENT = Environment({**ABOUT_THE_REQUEST, **AUTHORIZERS})
