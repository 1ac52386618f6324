"""Impersonation: acting as somebody else, by headers, for those who hold the right to every part of that identity.

Each of the user, every group, the uid and every extra value is a permission of its own; one that is missing refuses
the request. What the headers ask for is answered with the identity that the rest of the request goes on with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from kybern.api.errors import BadRequest
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.auth.chain import AUTHENTICATED
from kybern.apiserver.auth.denial import forbidden_request
from kybern.apiserver.auth.issuer import account_of, group_names
from kybern.apiserver.request import ANONYMOUS, Attributes, Authorizer, User
from kybern.web.http import Request

USER = "impersonate-user"
GROUP = "impersonate-group"
UID = "impersonate-uid"
EXTRA = "impersonate-extra-"
UNAUTHENTICATED = "system:unauthenticated"


@dataclass(frozen=True, slots=True)
class Impersonation:
    authorizer: Authorizer

    async def acting(self, user: User, request: Request) -> User:
        """The user to go on with. BadRequest where the headers make no sense, Forbidden where a right is missing."""
        wanted = identity_in(request)
        if wanted is None:
            return user
        for part in parts_of(wanted):
            attributes = Attributes(user=user, verb="impersonate", version="v1", **part)
            decision = await decided(self.authorizer, attributes)
            if not decision.allowed:
                raise forbidden_request(attributes, decision.reason)
        return completed(wanted)


def identity_in(request: Request) -> User | None:
    headers = request.headers
    name = headers.get(USER, "")
    groups = tuple(filter(None, request.lines(GROUP)))
    extra = {
        unquote(key.removeprefix(EXTRA)).lower(): tuple(request.lines(key)) for key in headers if key.startswith(EXTRA)
    }
    uid = headers.get(UID, "")
    if not name and (groups or extra or uid):
        raise BadRequest(
            "requested " + str([*groups, *([uid] if uid else []), *extra]) + " without impersonating a user"
        )
    return User(name, groups, uid, extra) if name else None


def parts_of(wanted: User) -> Iterator[dict[str, Any]]:
    """What has to be allowed, as attributes of the verb `impersonate`."""
    account = account_of(wanted.name)
    if account is not None:
        yield {"resource": "serviceaccounts", "namespace": account[0], "name": account[1]}
    else:
        yield {"resource": "users", "name": wanted.name}
    for group in wanted.groups:
        yield {"resource": "groups", "name": group}
    if wanted.uid:
        yield {"group": "authentication.k8s.io", "resource": "uids", "name": wanted.uid}
    for key, values in wanted.extra.items():
        for value in values:
            yield {"group": "authentication.k8s.io", "resource": "userextras", "subresource": key, "name": value}


def completed(wanted: User) -> User:
    """With the groups that this user has by nature: a service account's own, and whether it is somebody at all."""
    groups = wanted.groups
    account = account_of(wanted.name)
    if account is not None and not groups:
        groups = group_names(account[0])
    by_nature = UNAUTHENTICATED if wanted.name == ANONYMOUS.name else AUTHENTICATED
    if by_nature not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, by_nature)
    return User(wanted.name, groups, wanted.uid, wanted.extra)
