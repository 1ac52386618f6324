"""The request itself, as webhooks get it (`AdmissionReview.request`) and expressions see it (`request`)."""

from typing import Any

from kybern.apiserver.admission.matching.versioned import Versioned, kind_of
from kybern.apiserver.request import User


def request_of(versioned: Versioned) -> dict[str, Any]:
    """Without its uid and its objects."""
    admission, found = versioned.admission, versioned.resource.kind
    own = admission.resource.kind
    part = next((each for each in admission.resource.subresources if each.name == admission.subresource), None)
    asked_kind = kind_of(own, part, versioned.connection)
    request: dict[str, Any] = {
        "kind": gvk(*versioned.kind),
        "resource": {"group": found.group, "version": found.version, "resource": found.plural},
        "requestKind": gvk(*asked_kind),
        "requestResource": {"group": own.group, "version": own.version, "resource": own.plural},
        "name": admission.name,
        "namespace": versioned.namespace,
        "operation": versioned.operation,
        "userInfo": user_info(admission.user),
        "dryRun": admission.dry_run,
        "options": versioned.options(),
        "subResource": admission.subresource,
        "requestSubResource": admission.subresource,
    }
    optional = ("name", "namespace", "subResource", "requestSubResource")
    return {key: value for key, value in request.items() if key not in optional or value}


def gvk(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


def user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
