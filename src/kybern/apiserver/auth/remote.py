"""One question to a webhook of ours, in JSON: the review that is sent, and the status that comes back."""

from typing import Any

import msgspec

from kybern.web.client import Client, ClientError
from kybern.web.http import Request

ANSWER_BYTES_MAX = 1024 * 1024
HEADERS = {"content-type": "application/json", "accept": "application/json"}
TIMEOUT_SECONDS = 10.0


class NoAnswer(Exception):
    """It cannot be reached, or says nothing that could be understood."""


async def reviewed(
    client: Client, path: str, review: dict[str, Any], timeout_seconds: float = TIMEOUT_SECONDS
) -> dict[str, Any]:
    """The status of the answered review. NoAnswer."""
    try:
        request = Request("POST", path, "", HEADERS, msgspec.json.encode(review))
        response = await client.send(request, timeout=timeout_seconds)
        body = await response.read(ANSWER_BYTES_MAX)
    except ClientError as error:
        raise NoAnswer(str(error)) from None
    if response.status not in (200, 201):
        raise NoAnswer(f"it answered {response.status}")
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise NoAnswer(str(error)) from None
    status = answer.get("status") if isinstance(answer, dict) and answer.get("kind") == review["kind"] else None
    if not isinstance(status, dict):
        raise NoAnswer(f"it answered no {review['kind']} with a status")
    return status
