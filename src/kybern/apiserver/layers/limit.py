"""How much is done at once: so many reads and so many writes, the rest is told to come back. Streams do not count."""

from kybern.api.errors import TooManyRequests
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response

READS_MAX = 400  # upstream's --max-requests-inflight
WRITES_MAX = 200  # upstream's --max-mutating-requests-inflight
RETRY_AFTER_SECONDS = 1

READS = ("get", "list", "head", "options")
STREAMS = ("exec", "attach", "portforward", "proxy", "log")
FREE_GROUP = "system:masters"


class LimitLayer:
    def __init__(self, next_layer: Layer, reads_max: int = READS_MAX, writes_max: int = WRITES_MAX) -> None:
        self.next = next_layer
        self.free = {True: reads_max, False: writes_max}

    async def __call__(self, request: ApiRequest) -> Response:
        at = request.attributes
        if at.verb == "watch" or at.subresource in STREAMS or FREE_GROUP in request.user.groups:
            return await self.next(request)
        reading = at.verb in READS
        if self.free[reading] <= 0:
            raise TooManyRequests("Too many requests, please try again later.", retry_after_seconds=RETRY_AFTER_SECONDS)
        self.free[reading] -= 1
        try:
            return await self.next(request)
        finally:
            self.free[reading] += 1
