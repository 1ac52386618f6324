"""Every way a request can fail, one class for each of upstream's Status reasons.

ApiError                     400 where nothing better fits
├── BadRequest               400  the client must change the request
├── Unauthorized             401
├── Forbidden                403
├── NotFound                 404
├── MethodNotAllowed         405
├── NotAcceptable            406
├── AlreadyExists            409
├── Conflict                 409
├── Expired                  410  the resource version is no longer known: list again
├── RequestEntityTooLarge    413
├── UnsupportedMediaType     415
├── Invalid                  422  carries the fields that are wrong
├── TooManyRequests          429  carries the seconds to wait
├── InternalError            500
├── ServiceUnavailable       503
└── Timeout                  504

The server raises them and one place turns them into a Status; the client turns a Status back into them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from kybern.api.invalid import FieldError
from kybern.api.meta_v1 import Status, StatusCause, StatusDetails


@dataclass(frozen=True, slots=True)
class About:
    """Which object or kind of object an error is about."""

    resource: str = ""
    """The plural."""
    group: str = ""
    name: str = ""
    kind: str = ""
    uid: str = ""

    @property
    def qualified(self) -> str:
        """`deployments.apps`, as messages name it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def kind_qualified(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class ApiError(Exception):
    code: ClassVar[int] = 400
    reason: ClassVar[str] = "BadRequest"

    def __init__(
        self,
        message: str,
        about: About | None = None,
        causes: Iterable[StatusCause] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.about = about
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after_seconds

    def status(self) -> Status:
        """The body of the answer."""
        details: StatusDetails | None = None
        if self.about or self.causes or self.retry_after_seconds:
            about = self.about or About()
            details = StatusDetails(
                name=about.name or None,
                group=about.group or None,
                # Invalid names the kind, everything else the plural: upstream's habit, and clients print it.
                kind=(about.kind if isinstance(self, Invalid) else about.resource) or None,
                uid=about.uid or None,
                causes=self.causes or None,
                retry_after_seconds=self.retry_after_seconds,
            )
        return Status(
            status="Failure", message=self.message, reason=self.reason or None, details=details, code=self.code
        )


class BadRequest(ApiError):
    pass


class Unauthorized(ApiError):
    code = 401
    reason = "Unauthorized"


class Forbidden(ApiError):
    code = 403
    reason = "Forbidden"


class NotFound(ApiError):
    code = 404
    reason = "NotFound"


class MethodNotAllowed(ApiError):
    code = 405
    reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    code = 406
    reason = "NotAcceptable"


class AlreadyExists(ApiError):
    code = 409
    reason = "AlreadyExists"


class Conflict(ApiError):
    code = 409
    reason = "Conflict"


class Expired(ApiError):
    code = 410
    reason = "Expired"


class RequestEntityTooLarge(ApiError):
    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code = 415
    reason = "UnsupportedMediaType"


class Invalid(ApiError):
    code = 422
    reason = "Invalid"


class TooManyRequests(ApiError):
    code = 429
    reason = "TooManyRequests"


class InternalError(ApiError):
    code = 500
    reason = "InternalError"


class ServiceUnavailable(ApiError):
    code = 503
    reason = "ServiceUnavailable"


class Timeout(ApiError):
    code = 504
    reason = "Timeout"


BY_REASON: dict[str, type[ApiError]] = {
    error.reason: error
    for error in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict,
        Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
        ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def from_status(status: Status) -> ApiError:
    """The error that a Status tells of: by its reason, else by its code."""
    error = BY_REASON.get(status.reason or "") or next(
        (known for known in BY_REASON.values() if known.code == status.code), ApiError
    )
    details = status.details or StatusDetails()
    about = About(resource=details.kind or "", group=details.group or "", name=details.name or "")
    return error(status.message or "", about, details.causes or (), details.retry_after_seconds)


def not_found(about: About) -> NotFound:
    return NotFound(f'{about.qualified} "{about.name}" not found', about)


def already_exists(about: About) -> AlreadyExists:
    return AlreadyExists(f'{about.qualified} "{about.name}" already exists', about)


def conflict(about: About, why: str) -> Conflict:
    return Conflict(f'Operation cannot be fulfilled on {about.qualified} "{about.name}": {why}', about)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


INVALID_LETTERS_MAX = 128 * 1024
"""Of what is wrong with one object: it is told twice."""


def invalid(about: About, errors: Iterable[FieldError]) -> Invalid:
    """Upstream's wording: one error in line, several in brackets, each also as a cause. Of very many the first are told."""
    every = list(dict.fromkeys(errors))
    sizes = accumulate(len(error.field) + len(error.body) for error in every)
    found = every[: max(sum(size <= INVALID_LETTERS_MAX for size in sizes), 1)]
    causes = [StatusCause(reason=e.reason, message=e.body, field_=e.field) for e in found]
    texts = [str(e) for e in found]
    texts += [f"{len(every) - len(found)} more errors were truncated"] if len(found) < len(every) else []
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return Invalid(f'{about.kind_qualified} "{about.name}" is invalid: {joined}', about, causes)


def forbidden(about: About, why: Any) -> Forbidden:
    named = f' "{about.name}"' if about.name else ""
    return Forbidden(f"{about.qualified}{named} is forbidden: {why}", about)
