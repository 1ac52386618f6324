"""Authentication: the first authenticator that knows the sender answers; without credentials one is anonymous.

Wrong credentials are refused at once, whatever else the request carries: one answer, 401 `Unauthorized`, that does not
say what was wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.api.errors import Unauthorized
from kybern.apiserver.request import ANONYMOUS, Authenticator, User
from kybern.web.http import Request

AUTHENTICATED = "system:authenticated"


def anywhere(path: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Chain:
    authenticators: Sequence[Authenticator]
    anonymous: Callable[[str], bool] = anywhere
    """At which paths one may be nobody."""

    async def __call__(self, request: Request) -> User:
        for authenticator in self.authenticators:
            user = await authenticator(request)
            if user is not None:
                return as_authenticated(user)
        if not self.anonymous(request.path):
            raise Unauthorized("Unauthorized")
        return ANONYMOUS


def as_authenticated(user: User) -> User:
    """With the group that everybody is in who is somebody: said once of those who are remembered."""
    if user.name == ANONYMOUS.name or AUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
