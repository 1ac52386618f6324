"""Addresses that are answered by doing something, not by storing: reviews, tokens, bindings, evictions, exec, proxies.

`ApiServer(creators=..., connections=...)` takes two tables. Both are keyed by what is addressed, as messages name it:
`tokenreviews.authentication.k8s.io` for a resource, `serviceaccounts/token` or `deployments.apps/scale` for a part of one.

- A `Creator` gets the body of a POST as the kind's Struct, already decoded and defaulted, and returns the answer's
  Struct; the machine does the rest: content types, dry-run parameters, 201. It raises ApiError to refuse. Where the
  request is, says `request.attributes` (namespace, name, user); what the parent is, it asks its own `Objects`.
- A connection is a whole `Layer`: it gets the request as it came, authenticated, authorized and admitted, and may
  answer with an `Upgrade`.

A creator that depends on something (keys, clock, objects) is a closure or a method of a small object that has it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kybern.apiserver.request import ApiRequest, Layer

Creator = Callable[[Any, ApiRequest], Awaitable[Any]]
"""(body, request) -> answer. For a dry run `request.params.get("dryRun")` is `["All"]`: then nothing may be written."""

Creators = Mapping[str, Creator]
Connections = Mapping[str, Layer]


def address(group_resource: str, subresource: str) -> str:
    return f"{group_resource}/{subresource}" if subresource else group_resource
