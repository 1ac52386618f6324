"""Tokens from a file: `token,user,uid,"group,group"` a line, as `--token-auth-file` has it. Read once, at the start."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from kybern.apiserver.auth.issuer import digest
from kybern.apiserver.request import User


class TokenFileError(Exception):
    """The file cannot be read as one; the message says which line, and nothing of a token."""


@dataclass(frozen=True, slots=True)
class StaticTokens:
    users: Mapping[bytes, User]
    """By the SHA-256 of the token: how long a look-up takes tells nothing of a token."""

    def __call__(self, token: str) -> User | None:
        return self.users.get(digest(token))


def read_tokens(text: str) -> StaticTokens:
    users: dict[bytes, User] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3:
            raise TokenFileError(f"line {number}: token file must have at least 3 columns (token, user name, user uid)")
        token, name, uid, *rest = (field.strip() for field in row)
        if not token or not name:
            raise TokenFileError(f"line {number}: the token and the user name must not be empty")
        groups = tuple(group.strip() for group in rest[0].split(",") if group.strip()) if rest else ()
        users[digest(token)] = User(name, groups, uid)
    return StaticTokens(users)
