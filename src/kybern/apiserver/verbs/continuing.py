"""The continue token of a list in pages: the revision it shows, and the key the last page ended with. Upstream's form,
base64 of JSON; `rv` -1 goes on with the present, for a reader whose revision is gone."""

import base64
import binascii
from typing import Any

import msgspec

from kybern.api.errors import BadRequest, Expired
from kybern.api.meta_v1 import ListMeta, Status
from kybern.api.strict import parse

INCONSISTENT = -1
INVALID = "invalid continue token: continue key is not valid"

TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


class ContinueExpired(Expired):
    """Carries the token with which a list can go on all the same."""

    def __init__(self, token: str) -> None:
        super().__init__(TOO_OLD)
        self.token = token

    def status(self) -> Status:
        return msgspec.structs.replace(super().status(), metadata=ListMeta(continue_=self.token))


def token_for(revision: int, prefix: str, key: str) -> str:
    """`key`: the last one sent."""
    text = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": revision, "start": key[len(prefix) :] + "\0"})
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def read_token(token: str, prefix: str) -> tuple[int, str]:
    """The revision, and the key after which to go on."""
    try:
        padded = token + "=" * (-len(token) % 4)
        value: Any = parse(base64.urlsafe_b64decode(padded))
        version, revision, start = value["v"], value["rv"], value["start"]
    except (ValueError, binascii.Error, KeyError, TypeError) as error:
        raise BadRequest(f"{INVALID}: {error}") from None
    good = version == "meta.k8s.io/v1" and type(revision) is int and type(start) is str and revision != 0
    if not good or ".." in start.split("/"):
        raise BadRequest(f"{INVALID}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return revision, prefix + start.removesuffix("\0")
