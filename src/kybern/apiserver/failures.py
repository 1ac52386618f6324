"""The one place where what went wrong becomes an answer: a Status, with the code and headers that belong to it."""

import logging

from kybern.api.codec import encode
from kybern.api.errors import ApiError, BadRequest, InternalError, NotAcceptable, RequestEntityTooLarge
from kybern.apiserver.formats import PLAIN, Format, answer
from kybern.store.interface import StoreError
from kybern.web import http
from kybern.web.http import BodyTooLarge, Response

log = logging.getLogger(__name__)


def status_body(error: ApiError) -> bytes:
    return encode(error.status())


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of any exception: nothing of the server's inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BodyTooLarge):
        return RequestEntityTooLarge("Request entity too large: limit is 3145728")
    if isinstance(error, http.BadRequest):
        return BadRequest(str(error))
    if isinstance(error, StoreError):
        log.error("the store refused: %s", error)
        # Without Retry-After: clients would try again for a minute and say nothing, where a disk is full until
        # somebody makes room.
        return InternalError(f"the store cannot be written: {error}")
    log.error("a request failed inside the server", exc_info=error)
    return InternalError("an internal error occurred; the server's log says more")


def failure(error: Exception, format_: Format) -> Response:
    told = as_api_error(error)
    form = PLAIN if isinstance(told, NotAcceptable) else Format(format_.media)
    response = answer(status_body(told), form, told.code)
    if told.retry_after_seconds is not None:
        response.headers = {**response.headers, "Retry-After": str(told.retry_after_seconds)}
    return response
