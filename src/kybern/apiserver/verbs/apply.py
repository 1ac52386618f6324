"""Server-side apply: PATCH with an object's wanted fields, each owned by the manager that names it."""

from kybern.api.errors import UnsupportedMediaType
from kybern.apiserver.machine import Machine
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.web.http import Response

APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+json")


async def apply(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    raise UnsupportedMediaType("server-side apply is not served")
